"""Two people, and the server's promises to them, over bytes that no library of Godwit's own made or read.

Prints a line per check. The first that fails ends the run with exit code 1 and says why.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import frame_generated as fb

import faults
import groups
import trespass
from checks import REPLACED, REVOKED, closed_with, refusal, same
from cli import both_stacks
from godwit import (
    Chat,
    Device,
    DeviceKey,
    Registration,
    Session,
    direct_chat,
    id_bytes,
    id_table,
    new_id,
    text,
    text_of,
)
from quic import PATIENCE_S, Link, Server


@dataclass(frozen=True)
class Node:
    """A development node: where it listens, and the folder with its CA and its text messages."""

    server: Server
    data: Path

    @staticmethod
    def parse(argument: str) -> Node:
        """Reads `HOST:PORT=FOLDER`."""
        address, folder = argument.split("=", 1)
        host, port = address.rsplit(":", 1)
        return Node(Server(host, int(port), str(Path(folder) / "certs" / "ca.pem")), Path(folder))

    def code_for(self, phone: str) -> str:
        """The digits of the last text message to a number; it was sent before `Registered` was."""
        lines = [json.loads(line) for line in (self.data / "sms.jsonl").read_text().splitlines()]
        last = [line["text"] for line in lines if line["to"] == phone][-1]
        return last.rsplit(" ", 1)[1]

    async def person(self, phone: str, name: str) -> Device:
        """Somebody registers."""
        session = await Session.anonymous(self.server)
        registration = Registration(self.server, phone, name)
        asked = await registration.ask(session)
        device = await registration.verify(session, id_bytes(asked.registration), self.code_for(phone), DeviceKey())
        await session.link.leave()
        return device


@dataclass
class Stage:
    """Two people, connected, and the chat between them: the client that keeps to the rules."""

    node: Node
    alice: Device
    bob: Device
    mallory: Device
    at_alice: Session
    at_bob: Session
    silent: Link
    """A connection on which nothing is ever said."""

    @staticmethod
    async def set(node: Node) -> Stage:
        """Registers and connects both."""
        silent = await node.server.connect()
        alice = await node.person("+4915200000001", "Alice")
        bob = await node.person("+4915200000002", "Bob")
        mallory = await node.person("+4915200000009", "Mallory")
        at_alice, at_bob = await Session.of(alice), await Session.of(bob)
        await at_alice.synced()
        await at_bob.synced()
        return Stage(node, alice, bob, mallory, at_alice, at_bob, silent)

    @property
    def chat(self) -> bytes:
        """Their chat's id."""
        return direct_chat(self.alice.account, self.bob.account)

    async def exchange(self, said: str) -> int:
        """One message from Alice to Bob and one back: both connections live, and the node serves them."""
        await say_and_hear(self.at_alice, self.at_bob, self.chat, self.bob.account, said)
        return await say_and_hear(self.at_bob, self.at_alice, self.chat, self.alice.account, f"{said}?")


async def say_and_hear(speaker: Session, hearer: Session, chat: bytes, peer: bytes, said: str) -> int:
    """One message with its tick and its arrival; returns its place."""
    up = speaker.up(chat, peer)
    seq = await up.say(said)
    up.stream.finish()
    await up.stream.answer()
    for session in (hearer, speaker):
        await session.link.until(lambda: seq in session.chat(chat).entries, f"entry {seq}")
        same(text_of(session.chat(chat).entries[seq]), said, "the entry's text")
    return seq


async def r18_registration(stage: Stage) -> None:
    """r18 an OTP proves a number, and a device its key; a repeat gets the same registration"""
    node = stage.node
    session = await Session.anonymous(node.server)
    registration, key = Registration(node.server, "+4915200000003", "Carol"), DeviceKey()
    asked = await registration.ask(session)
    again = await registration.ask(session)
    same(id_bytes(again.registration), id_bytes(asked.registration), "a repeated Register")
    id_, code = id_bytes(asked.registration), node.code_for(registration.phone)
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    await refusal(registration.verify(session, id_, wrong, key), 202)
    await refusal(registration.verify(session, new_id(), code, key), 205)
    first = await registration.verify(session, id_, code, key)
    second = await registration.verify(session, id_, code, key)
    same(second.account, first.account, "VerifyOtp said again")
    bob_key_again = Registration(node.server, "+4915200000004", "Mallory")
    asked = await bob_key_again.ask(session)
    code = node.code_for(bob_key_again.phone)
    await refusal(bob_key_again.verify(session, id_bytes(asked.registration), code, stage.bob.key), 206)
    for phone, name, refused in [
        ("12", "Nobody", 200),
        ("+4915200000005", "", 201),
        ("+4915200000005", "x" * 256, 201),
    ]:
        await refusal(Registration(node.server, phone, name).ask(session), refused)
    await session.link.leave()


async def r48_order(stage: Stage) -> None:
    """r48 i2 a burst of messages is answered in order, dense from the first seq, the same on both devices"""
    up = stage.at_alice.up(stage.chat, stage.bob.account)
    before = stage.at_alice.chat(stage.chat).stored()
    ids = [new_id() for _ in range(60)]
    for number, id_ in enumerate(ids):
        up.append(text(f"burst {number}"), id_)
    acks = [await up.ack() for _ in ids]
    same([id_bytes(ack.clientMsgId) for ack in acks], ids, "the order of acks")
    same([ack.seq for ack in acks], list(range(before + 1, before + 61)), "the places")
    up.stream.finish()
    for session in (stage.at_alice, stage.at_bob):
        chat = session.chat(stage.chat)
        await session.link.until(lambda: chat.stored() == before + 60, "the burst")
        said = [text_of(chat.entries[ack.seq]) for ack in acks]
        same(said, [f"burst {number}" for number in range(60)], "what was heard")
        same(
            [(chat.entries[ack.seq].at, id_bytes(chat.entries[ack.seq].clientMsgId)) for ack in acks],
            [(ack.at, id_bytes(ack.clientMsgId)) for ack in acks],
            "time and id of entries and acks",
        )


async def i3_repeats(stage: Stage) -> None:
    """r50 i3 one client_msg_id has one seq: repeated on the stream, on another, on another connection"""
    id_, places = new_id(), []
    up = stage.at_alice.up(stage.chat, stage.bob.account)
    places += [await up.say("once", id_), await up.say("once", id_)]
    up.stream.finish()
    places.append(await stage.at_alice.up(stage.chat).say("another text", id_))
    other = await Session.of(stage.alice, chats={stage.chat: Chat(dict(stage.at_alice.chat(stage.chat).entries))})
    places.append(await other.up(stage.chat).say("once", id_))
    same(set(places), {places[0]}, "the places of one message")
    await replaced(stage, other)
    await stage.at_bob.link.until(lambda: places[0] in stage.at_bob.chat(stage.chat).entries, "the message")
    after = await stage.exchange("after a repeat")
    same(after, places[0] + 2, "the next places")
    same(text_of(stage.at_bob.chat(stage.chat).entries[places[0]]), "once", "what was heard")
    same(stage.at_bob.chat(stage.chat).arrivals, len(stage.at_bob.chat(stage.chat).entries), "entries heard twice")


async def replaced(stage: Stage, newer: Session) -> None:
    """Alice's device has connected again: the older session is told so and closed; the newer goes on."""
    same((await stage.at_alice.stream.expect(fb.GoodbyeT)).code, 108, "why the older session ends")
    await closed_with(stage.at_alice.link, REPLACED)
    stage.at_alice = newer
    await newer.synced()


async def r53_ticks(stage: Stage) -> None:
    """r53 i4 sent, delivered, read: cursors move by the receiver's word, never back, and read implies delivered"""
    first = await stage.exchange("ticks")
    up, chat, bob = stage.at_bob.up(stage.chat), stage.at_alice.chat(stage.chat), stage.bob.account
    seen = stage.at_alice.link
    up.move(first - 1, 0)
    await seen.until(lambda: chat.ticks(first - 1, bob)[0], "two ticks")
    same(chat.ticks(first - 1, bob), (True, False), "delivered")
    up.move(0, first - 1)
    await seen.until(lambda: chat.ticks(first - 1, bob)[1], "blue ticks")
    same((chat.cursors[bob].delivered, chat.cursors[bob].read), (first - 1, first - 1), "Bob's cursors")
    up.move(1, 1)
    up.move(first, first)
    await seen.until(lambda: chat.ticks(first, bob)[1], "the last blue tick")
    receipts = await stage.at_alice.ask_one(fb.GetReceiptsT(id_table(stage.chat), first - 1), fb.ReceiptsT)
    of_bob = [one for one in receipts.receipts if id_bytes(one.member) == bob]
    same([0 < one.deliveredAt <= one.readAt for one in of_bob], [True], "Bob's receipt")
    await refusal(stage.at_alice.ask(fb.GetReceiptsT(id_table(stage.chat), first + 1000)), 400)
    up.stream.finish()


async def i4_cursor_ahead(stage: Stage) -> None:
    """i4 a cursor beyond the head is refused, and moves nothing; the stream goes on"""
    head = await stage.exchange("the head")
    up, chat = stage.at_bob.up(stage.chat), stage.at_alice.chat(stage.chat)
    up.move(head + 1, 0)
    await refusal(up.ack(), 305)
    up.move(0, head + 1000)
    await refusal(up.ack(), 305)
    up.move(head, head)
    await stage.at_alice.link.until(lambda: chat.ticks(head, stage.bob.account)[1], "the cursor at the head")
    same(chat.cursors[stage.bob.account].read, head, "the cursor")
    up.stream.finish()


async def r47_history(stage: Stage) -> None:
    """r47 history: pages back and forth hold every entry once, with where cursors stand"""
    chat = stage.at_bob.chat(stage.chat)
    head = chat.stored()
    seen: list[int] = []
    cursor, more = 0, True
    while more:
        entries, last = await stage.at_bob.history(stage.chat, limit=20, before=cursor)
        places = [entry.seq for entry in entries]
        same((last.count, places), (len(entries), sorted(places)), "a page's count and order")
        seen, cursor, more = places + seen, last.nextCursor, last.hasMore
    same(seen, list(range(1, head + 1)), "all pages, backwards")
    seen, cursor, more = [1], 1, True
    while more:
        entries, last = await stage.at_bob.history(stage.chat, limit=20, after=cursor)
        seen, cursor, more = seen + [entry.seq for entry in entries], last.nextCursor, last.hasMore
    same(seen, list(range(1, head + 1)), "all pages, forwards")
    # Alice has moved none of hers yet.
    stands = [(id_bytes(moved.member), moved.read) for moved in last.members]
    same(stands, [(stage.bob.account, stage.at_alice.chat(stage.chat).cursors[stage.bob.account].read)], "cursors")
    for wrong in ({"limit": 0}, {"limit": 501}, {"limit": 1, "before": 2, "after": 1}):
        await refusal(stage.at_bob.history(stage.chat, **wrong), 306)


async def r34_typing(stage: Stage) -> None:
    """r34 typing is told to a device that has the chat open, and so is its end"""
    open_at_bob = stage.at_bob.up(stage.chat)
    chat, alice = stage.at_bob.chat(stage.chat), stage.alice.account
    # Its answer says that Bob's stream is known, before Alice types.
    await open_at_bob.say("now open")
    up = stage.at_alice.up(stage.chat)
    for typing in (True, False):
        # It may be dropped, and is within 100 ms of another: said until it is heard.
        deadline = time.monotonic() + PATIENCE_S
        while chat.typing.get(alice) is not typing:
            up.typing(typing)
            await stage.at_alice.ping()
            await stage.at_bob.link.look(0.1, lambda: chat.typing.get(alice) is typing)
            same(time.monotonic() < deadline, True, "typing is told in time")
    up.stream.finish()
    open_at_bob.stream.finish()


async def r50_resume(stage: Stage) -> None:
    """r50 i2 a device that was away resumes behind its stored cursor: what it missed, once, and the moves since"""
    head = await stage.exchange("before leaving")
    bob, kept = stage.bob, {stage.chat: stage.at_bob.chat(stage.chat)}
    await stage.at_bob.link.leave()
    up = stage.at_alice.up(stage.chat)
    missed = [await up.say(f"missed {number}") for number in range(5)]
    up.move(missed[-1], missed[-1])
    up.stream.finish()
    arrived = kept[stage.chat].arrivals
    stage.at_bob = await Session.of(bob, chats=kept)
    await stage.at_bob.synced()
    same(kept[stage.chat].stored(), missed[-1], "where Bob stands at Synced")
    same(kept[stage.chat].arrivals - arrived, len(missed), "entries delivered again")
    same(missed, list(range(head + 1, head + 6)), "the places")
    # Bob knows less than the server thinks: he may state so, and gets it again.
    await stage.at_bob.link.leave()
    forgetful = {stage.chat: Chat(entries={seq: kept[stage.chat].entries[seq] for seq in range(1, head)})}
    stage.at_bob = await Session.of(bob, chats=forgetful)
    await stage.at_bob.synced()
    same(forgetful[stage.chat].stored(), missed[-1], "what Bob states holds")
    await stage.exchange("after coming back")


async def c1_refresh(stage: Stage) -> None:
    """c1 tokens renew on a live connection; a repeat has the same successor; an old token is theft, the device ends"""
    carol = await stage.node.person("+4915200000006", "Carla")
    session = await Session.of(carol)
    await session.synced()
    request, old = new_id(), carol.refresh
    first = (await session.renew(carol, request)).tokens
    again = (await session.renew(carol, request)).tokens
    same(bytes(again.refresh), bytes(first.refresh), "the successor")
    carol.keep(first)
    carol.keep((await session.renew(carol, new_id())).tokens)
    newest, carol.refresh = carol.refresh, old
    anonymous = await Session.anonymous(carol.server)
    await refusal(anonymous.renew(carol, new_id()), 107)
    same((await session.stream.expect(fb.GoodbyeT)).code, 103, "why the device's session ends")
    await closed_with(session.link, REVOKED)
    await refusal(Session.of(carol), 103)
    carol.refresh = newest
    await refusal(anonymous.renew(carol, new_id()), 103)
    await anonymous.link.leave()


async def g6_devices(stage: Stage) -> None:
    """g6 a second device of an account hears what the first says; revoked, it is told and shut out"""
    second = await stage.node.person(stage.alice.phone, "Alice")
    same(second.account, stage.alice.account, "the account")
    added = await stage.at_alice.stream.expect(fb.DeviceAddedT)
    same(id_bytes(added.device), second.key.device, "the new device")
    there = await Session.of(second)
    await there.synced()
    seq = await stage.exchange("two devices")
    await there.link.until(lambda: seq in there.chat(stage.chat).entries, "the entry on the second device")
    devices = await stage.at_alice.ask_one(fb.ListDevicesT(), fb.DevicesT)
    same([id_bytes(one.device) for one in devices.devices if one.current], [stage.alice.key.device], "the current one")
    await stage.at_alice.ask_one(fb.RevokeDeviceT(id_table(second.key.device)), fb.DoneT)
    same((await there.stream.expect(fb.GoodbyeT)).code, 103, "why it ends")
    await closed_with(there.link, REVOKED)
    await refusal(Session.of(second), 103)


async def r24_finding(stage: Stage) -> None:
    """r24 people are found by number, and the chat between them has the id both compute; chats are listed"""
    found = await stage.at_alice.ask_one(fb.LookupT(stage.bob.phone), fb.FoundT)
    same((id_bytes(found.account), found.name.decode()), (stage.bob.account, "Bob"), "who is found")
    same(id_bytes(found.chat), stage.chat, "the chat's id")
    await refusal(stage.at_alice.ask(fb.LookupT("+4915299999999")), 400)
    chats = await stage.at_alice.ask_one(fb.GetChatsT(), fb.ChatsT)
    listed = {id_bytes(chat.chat): (id_bytes(chat.peer), chat.peerName.decode(), chat.head) for chat in chats.chats}
    same(listed[stage.chat], (stage.bob.account, "Bob", stage.at_alice.chat(stage.chat).stored()), "the chat")


async def expired(device: Device) -> None:
    """Waits until a device's access token has expired. Nothing tells that a time has come but the time."""
    while (left_s := device.access_expires / 1000 - time.time()) >= 0:
        await asyncio.sleep(left_s + 0.01)


async def c1_expiry(node: Node) -> None:
    """c1 an expired access token is to be refreshed; after theft it is one of a device that must register again"""
    brief = await node.person("+4915200000008", "Emil")
    await expired(brief)
    same((await refusal(Session.of(brief), 102)).retry, 2, "the hint")
    anonymous = await Session.anonymous(node.server)
    oldest = brief.refresh
    for _ in range(2):
        brief.keep((await anonymous.renew(brief, new_id())).tokens)
    await expired(brief)
    brief.refresh, newest = oldest, brief.refresh
    await refusal(anonymous.renew(brief, new_id()), 107)
    await refusal(Session.of(brief), 103)
    brief.refresh = newest
    await refusal(anonymous.renew(brief, new_id()), 103)
    await anonymous.link.leave()


RUN_S = 300.0
"""What a run takes at most; about 15 s are usual."""

JOURNEY: list[Callable[[Stage], Awaitable[None]]] = [
    r18_registration,
    r48_order,
    i3_repeats,
    r53_ticks,
    i4_cursor_ahead,
    r47_history,
    r34_typing,
    r50_resume,
    c1_refresh,
    g6_devices,
    r24_finding,
]


async def run(node: Node, brief: Node | None, program: str | None, work: Path) -> int:
    """All checks, in order; returns how many there were."""
    started = time.monotonic()
    stage = await Stage.set(node)
    await stage.exchange("hello")
    checks = [*JOURNEY, *([both_stacks(program, work)] if program else [])]
    count = 0
    for check in checks:
        await check(stage)
        count += 1
        say(f"ok  {check.__doc__}")
    if brief:
        await c1_expiry(brief)
        count += 1
        say(f"ok  {c1_expiry.__doc__}")
    for fault in [*groups.GROUPS, *faults.FAULTS, *trespass.TRESPASSES]:
        await fault(stage)
        await stage.exchange(f"after {fault.__name__}")
        count += 1
        say(f"ok  {fault.__doc__}")
    say(f"{count} checks passed in {time.monotonic() - started:.1f} s")
    return count


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def main() -> int:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", required=True, type=Node.parse, metavar="HOST:PORT=DATA")
    parser.add_argument(
        "--brief-node", type=Node.parse, metavar="HOST:PORT=DATA", help="its tokens live a second or two"
    )
    parser.add_argument("--godwit", help="the program, to chat with")
    parser.add_argument("--work", required=True, type=Path, help="an empty folder for its profile")
    arguments = parser.parse_args()
    # Its warnings are of ends of connections, which every check judges by itself.
    logging.getLogger("quic").setLevel(logging.CRITICAL)
    try:
        asyncio.run(
            asyncio.wait_for(run(arguments.node, arguments.brief_node, arguments.godwit, arguments.work), RUN_S)
        )
    except Exception:  # The one place where a failed check becomes an exit code.
        say("FAILED")
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

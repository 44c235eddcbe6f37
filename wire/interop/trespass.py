"""Clients that are not who they say, or want what is not theirs: each gets the refusal that ../PROTOCOL.md names.

After each of them the runner has the two well-behaved clients exchange messages.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import frame_generated as fb
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checks import MALFORMED, REFUSED, TLS_ALERT, arrive, closed_with, refusal, same, still_good
from godwit import Device, DeviceKey, Session, direct_chat, id_table, new_id, text
from quic import Link, Server

if TYPE_CHECKING:
    from journey import Stage


async def hello_refused(device: Device, hello: Callable[[Link], fb.HelloT], code: int) -> None:
    """A `Hello` that is refused: why, on its stream, then the connection's end."""
    link = await device.server.connect()
    refused = await refusal(Session.greet(link, hello(link)), code)
    same(refused.retry, 2, "the hint")
    await closed_with(link, REFUSED)


async def wrong_credentials(stage: Stage) -> None:
    """r24 a wrong signature, a garbage token, another's token: each is refused by its own code"""
    mallory, alice = stage.mallory, stage.alice
    access = mallory.access
    head, claims, signature = access.split(".")
    tampered = f"{head}.{claims[:-2]}{'AA' if claims[-2:] != 'AA' else 'BB'}.{signature}"

    def hello(device: Device, **changes: Any) -> Callable[[Link], fb.HelloT]:
        def made(link: Link) -> fb.HelloT:
            said = device.hello(link.exporter())
            for name, value in changes.items():
                setattr(said, name, value)
            return said

        return made

    for proof in (bytes(64), os.urandom(64), DeviceKey().prove("godwit/1 hello", bytes(32), access.encode())):
        await hello_refused(mallory, hello(mallory, proof=proof), 104)
    for token in ("garbage", "", "a.b.c", tampered):
        await hello_refused(mallory, hello(replace(mallory, access=token)), 101)
    await hello_refused(mallory, hello(replace(mallory, access=alice.access)), 104)
    for malformed in ({"token": "x" * 1025}, {"proof": bytes(63)}, {"proof": None}):
        link = await mallory.server.connect()
        link.open().send(hello(mallory, **malformed)(link))
        await closed_with(link, MALFORMED)
    link = await mallory.server.connect()
    await refusal(Session.greet(link, fb.HelloT(version=0)), 503)
    await closed_with(link, REFUSED)


async def captured_proofs(stage: Stage) -> None:
    """r24 a proof captured on another connection is worth nothing: Hello, Refresh and VerifyOtp cover the exporter"""
    mallory = stage.mallory
    elsewhere = await mallory.server.connect()
    captured = mallory.hello(elsewhere.exporter())
    await hello_refused(mallory, lambda link: captured, 104)
    session = await Session.anonymous(mallory.server)
    same(session.link.exporter() != elsewhere.exporter(), True, "exporters differ")
    await refusal(session.ask(mallory.renewal(elsewhere.exporter(), new_id())), 104)
    key, registration = DeviceKey(), new_id()
    proof = key.prove("godwit/1 verify-otp", elsewhere.exporter(), registration, key.public)
    asked = fb.VerifyOtpT(id_table(registration), "123456", key.public, "interop", proof)
    await refusal(session.ask(asked), 104)
    # A label of another purpose is no proof either.
    request = new_id()
    renewal = mallory.renewal(session.link.exporter(), request)
    renewal.proof = mallory.key.prove("godwit/1 hello", session.link.exporter(), mallory.refresh, request)
    await refusal(session.ask(renewal), 104)
    await session.link.leave()
    await elsewhere.leave()


async def anonymous_limits(stage: Stage) -> None:
    """r156 an anonymous session may register, verify and refresh, and nothing else"""
    session = await Session.anonymous(stage.node.server)
    chat = id_table(stage.chat)
    for request in (
        fb.GetChatsT(),
        fb.GetMessagesT(chat),
        fb.GetReceiptsT(chat, 1),
        fb.LookupT("+4915200000001"),
        fb.ListDevicesT(),
        fb.LogoutT(),
        fb.RevokeDeviceT(id_table(stage.alice.key.device)),
        fb.ChatUpT(chat),
        fb.InboxUpT(),
        fb.LeaveGroupT(chat, id_table(new_id())),
        fb.GetGroupT(chat),
        fb.GetTreeT(chat, 1),
        fb.PublishKeyPackagesT(id_table(new_id())),
        fb.ClaimKeyPackagesT([chat]),
        fb.CommitGroupT(chat, id_table(new_id()), 0, fb.Action.UpdateGroup, fb.UpdateGroupT()),
    ):
        await refusal(session.ask(request), 100)
    await still_good(session)
    await session.link.leave()


async def foreign_chats(stage: Stage) -> None:
    """c44 a stranger can neither write, read, mark as read nor type in a chat, and is told so by code"""
    session = await arrive(stage.mallory)
    head = stage.at_alice.chat(stage.chat).stored()
    for chat in (stage.chat, new_id()):
        up = session.up(chat)
        await refusal(up.say("let me in"), 300)
        # Such a refusal leaves the stream open.
        await refusal(up.say("let me in, again"), 300)
        up.move(1, 1)
        await refusal(up.ack(), 300)
        up.typing(True)
        await refusal(session.history(chat), 300)
        await refusal(session.ask(fb.GetReceiptsT(id_table(chat), 1)), 300)
        await refusal(session.ask(fb.GetGroupT(id_table(chat))), 300)
        await refusal(session.ask(fb.LeaveGroupT(id_table(chat), id_table(new_id()))), 300)
        await refusal(session.ask(fb.GetTreeT(id_table(chat), 1)), 400)
        up.stream.finish()
    for chat, peer in ((stage.chat, stage.alice.account), (stage.chat, stage.bob.account), (new_id(), new_id())):
        await refusal(session.up(chat, peer).ack(), 304)
    nobody = new_id()
    await refusal(session.up(direct_chat(stage.mallory.account, nobody), nobody).say("anyone?"), 301)
    same(stage.chat in session.downs, False, "deliveries to a stranger")
    same(stage.mallory.account in stage.at_alice.chat(stage.chat).typing, False, "a stranger's typing")
    same(await stage.exchange("nobody was here"), head + 2, "the place after a stranger's tries")
    await still_good(session)
    await session.link.leave()


async def wrong_authority(stage: Stage) -> None:
    """r24 this client does judge certificates: a node of another authority is no server of its"""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Somebody else")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    with tempfile.NamedTemporaryFile(suffix=".pem") as other:
        other.write(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        other.flush()
        link = await replace(stage.node.server, ca=other.name).start()
        closed = await link.end()
    same((closed.code, closed.by_application), (TLS_ALERT + 42, False), f"the end ({closed})")


async def ticket_of(server: Server) -> Any:
    """A ticket, good for one connection that begins with early data."""
    tickets: list[Any] = []
    link = await server.start(on_ticket=tickets.append)
    await link.until(lambda: bool(tickets), "a ticket")
    await link.leave()
    return tickets[0]


async def early_data(stage: Stage) -> None:
    """i3 g18 a first flight (0-RTT) appends, again at the first seq; for another server or time it is refused"""
    mallory, chat = stage.mallory, direct_chat(stage.mallory.account, stage.alice.account)
    id_, now_ms, places = new_id(), int(time.time() * 1000), []
    elsewhere = replace(mallory, server=replace(mallory.server, host="not.this.server"))
    hellos = [(mallory.early_hello(now_ms), None), (elsewhere.early_hello(now_ms), 109)]
    hellos += [(mallory.early_hello(now_ms + minutes * 60_000), 109) for minutes in (-11, 11)]
    for hello, code in [*hellos, (mallory.early_hello(now_ms), None)]:
        link = await mallory.server.start(ticket=await ticket_of(mallory.server))
        session = Session(link, link.open())
        session.stream.send(hello)
        up = session.up(chat, stage.alice.account)
        # What comes behind a refused Hello must come to nothing: the next place shows it.
        up.append(text("early"), id_ if code is None else new_id())
        if code is None:
            places.append((await up.ack()).seq)
            await session.accepted()
            same((link.handshake.session_resumed, link.handshake.early_data_accepted), (True, True), "early data")
            await link.leave()
        else:
            await refusal(session.accepted(), code)
            await closed_with(link, REFUSED)
    same(len(set(places)), 1, f"one place for one message ({places})")
    last = await arrive(mallory)
    same(await last.up(chat).say("after early data"), places[0] + 1, "the next place")
    await last.link.leave()


TRESPASSES: list[Callable[[Stage], Awaitable[None]]] = [
    wrong_credentials,
    captured_proofs,
    anonymous_limits,
    foreign_chats,
    wrong_authority,
    early_data,
]

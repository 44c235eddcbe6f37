"""Groups, as far as a server takes part in them: key packages, commits, epochs, an inbox, who has gone."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import frame_generated as fb

from checks import UNEXPECTED, arrive, refusal, reset_with, same
from godwit import Device, Refused, Session, id_bytes, id_table, new_id
from mls import Commit, Member, tree, welcome
from quic import Broken, Stream

if TYPE_CHECKING:
    from journey import Stage

PIECE_BYTES = 60_000


def member(device: Device) -> Member:
    """A device as a leaf has it."""
    return Member(device.account, device.key.device, device.key.public)


def group_chat(creator: bytes, client_msg_id: bytes) -> bytes:
    """The id of a group."""
    return hashlib.sha256(b"godwit group chat\0" + creator + client_msg_id).digest()[:16]


async def publish(session: Session, packages: list[bytes], last_resort: bytes | None = None) -> int:
    """Publishes key packages; how many are stored."""
    ours = [fb.KeyPackageBytesT(package) for package in packages]
    asked = fb.PublishKeyPackagesT(id_table(new_id()), ours, last_resort)
    return (await session.ask_one(asked, fb.KeyPackagesStoredT)).count


async def claim(session: Session, *accounts: bytes) -> list[fb.KeyPackageT]:
    """One key package of each device."""
    asked = fb.ClaimKeyPackagesT([id_table(account) for account in accounts])
    answer = await session.ask_one(asked, fb.KeyPackagesT)
    same(answer.hasMore, False, "there are no more devices")
    return answer.packages


def say_commit(
    session: Session,
    commit: Commit,
    action: int,
    of_action: Any,
    added: Sequence[tuple[Member, bytes]] = (),
    whole_tree: bytes = b"",
    stated: Commit | None = None,
) -> Stream:
    """Asks for a commit, stating what it is, or what another one is; its answer comes on the stream."""
    message, welcomes = commit.message(), [welcome(package) for _, package in added]
    devices = [
        fb.NewDeviceT(id_table(one.account), id_table(one.device), len(made))
        for (one, _), made in zip(added, welcomes)
    ]
    stream = session.link.open()
    stated = stated or commit
    asked = fb.CommitGroupT(id_table(stated.chat), id_table(stated.client_msg_id), stated.epoch, action, of_action)
    asked.adds, asked.commitBytes, asked.treeBytes = devices or None, len(message), len(whole_tree)
    stream.send(asked)
    blobs = b"".join([message, whole_tree, *welcomes])
    for at in range(0, len(blobs), PIECE_BYTES):
        piece = blobs[at : at + PIECE_BYTES]
        stream.send(fb.PartT(piece, len(blobs) - at - len(piece)))
    return stream


async def committed(stream: Stream) -> tuple[int, int]:
    """The commit's place and the epoch that it begins."""
    answer = (await stream.answer())[-1]
    if isinstance(answer, fb.RefusedT):
        raise Refused(answer)
    if not isinstance(answer, fb.CommittedT):
        raise Broken(f"{answer!r} answers a commit")
    return answer.seq, answer.epoch


class Inbox:
    """A device's inbox, and the chats that come on streams of a session."""

    def __init__(self, session: Session) -> None:
        self.entries: list[fb.InboxEntryT] = []
        others = session.link.on_server_stream

        def down(stream: Stream) -> None:
            others(stream)
            of_chats, begun = stream.on_frame, False

            def take(body: Any) -> None:
                nonlocal begun
                if isinstance(body, fb.InboxDownT):
                    begun = True
                elif begun:
                    self.entries.append(body)
                else:
                    of_chats(body)

            stream.on_frame = take

        session.link.on_server_stream = down


async def r165_key_packages(stage: Stage) -> None:
    """r165 a key package is handed out once, then the one of last resort; only a device's own is stored"""
    carol = await stage.node.person("+4915200000011", "Carol")
    session, own = await arrive(carol), member(carol)
    packages, last = [own.key_package(), own.key_package()], own.key_package(last_resort=True)
    same(await publish(session, packages, last), 2, "how many are stored")
    handed = [(await claim(stage.at_bob, carol.account))[0] for _ in range(4)]
    same([bytes(one.bytes) for one in handed], [*packages, last, last], "what is handed out")
    same([one.lastResort for one in handed], [False, False, True, True], "the last resort")
    for wrong in (
        member(stage.alice).key_package(),
        own.key_package(until=1),
        own.key_package(since=2**40),
        last,
        packages[0][:-1],
    ):
        await refusal(publish(session, [own.key_package(), wrong]), 319)
    await refusal(publish(session, [], packages[0]), 319)
    same((await claim(stage.at_bob, new_id())), [], "nobody's")
    await session.link.leave()
    again = await arrive(carol)
    same(again.connected.keyPackages, 0, "how many are left")
    await again.link.leave()


async def i6_epochs(stage: Stage) -> None:
    """i6 r59 a group is made by a commit; one commit wins an epoch, and what is sealed for another is not appended"""
    dora, emma = await stage.node.person("+4915200000012", "Dora"), await stage.node.person("+4915200000013", "Emma")
    at_dora, at_emma = await arrive(dora), await arrive(emma)
    inbox = Inbox(at_emma)
    await publish(at_emma, [member(emma).key_package()])
    package = bytes((await claim(at_dora, emma.account))[0].bytes)
    id_ = new_id()
    chat = group_chat(dora.account, id_)
    first = Commit(chat, id_, 0, member(dora), 0, (package,))
    made = fb.MakeGroupT("Friends", None, [id_table(emma.account)])
    added, whole = [(member(emma), package)], tree(member(dora), member(emma))

    def ask(**changes: Any) -> Stream:
        said = {"commit": first, "action": fb.Action.MakeGroup, "of_action": made, "added": added, "whole_tree": whole}
        return say_commit(at_dora, **{**said, **changes})

    for other in ({"client_msg_id": new_id()}, {"chat": new_id()}, {"epoch": 1}, {"leaf": 1}, {"adds": (package,) * 2}):
        await refusal(committed(ask(commit=replace(first, **other), stated=first)), 312)
    await refusal(committed(ask(whole_tree=tree(member(emma)))), 312)
    await refusal(committed(ask(added=[(member(dora), package)])), 312)
    same(await committed(ask()), (1, 1), "the first commit")
    same(await committed(ask()), (1, 1), "the same again")
    await at_emma.link.until(lambda: bool(inbox.entries) and 1 in at_emma.chat(chat).entries, "the welcome")
    found = inbox.entries[0].what
    same((inbox.entries[0].seq, id_bytes(found.chat), found.epoch, found.seq), (1, chat, 1, 1), "the welcome")
    parts = await at_emma.ask(fb.GetTreeT(id_table(chat), 1))
    same((b"".join(bytes(part.bytes) for part in parts), parts[-1].left), (whole, 0), "the tree")
    await refusal(at_dora.ask(fb.GetTreeT(id_table(chat), 1)), 400)
    up = at_emma.up(chat)
    up.stream.send(fb.AppendT(id_table(new_id()), b"sealed", fb.Kind.Unsaid, 1))
    same((await up.ack()).seq, 2, "a message of this epoch")
    up.stream.send(fb.AppendT(id_table(new_id()), b"sealed", fb.Kind.Unsaid, 0))
    refused = await up.stream.frame()
    same((refused.refused.code, refused.epoch), (310, 1), "a message of another one")
    same(await up.stream.answer(), [], "the stream's end after it")
    update = fb.UpdateGroupT()
    of_emma = say_commit(at_emma, Commit(chat, new_id(), 1, member(emma), 1), fb.Action.UpdateGroup, update)
    same(await committed(of_emma), (3, 2), "one of two commits")
    late = say_commit(at_dora, Commit(chat, new_id(), 1, member(dora), 0), fb.Action.UpdateGroup, update)
    await refusal(committed(late), 310)
    group = await at_dora.ask_one(fb.GetGroupT(id_table(chat)), fb.GroupT)
    same((group.epoch, group.commitFirst, len(group.members), len(group.leaves)), (2, False, 2, 2), "the group")
    await g16_leaving(at_dora, at_emma, dora, emma, chat)


async def g16_leaving(at_dora: Session, at_emma: Session, dora: Device, emma: Device, chat: bytes) -> None:
    """Who leaves hears that, and nothing more; a commit without it must come first."""
    await at_emma.ask_one(fb.LeaveGroupT(id_table(chat), id_table(new_id())), fb.DoneT)
    for session in (at_dora, at_emma):
        known = session.chat(chat)
        await session.link.until(lambda: 4 in known.entries, "who has left")
        control = known.entries[4].control
        told = (known.entries[4].what, control.kind, id_bytes(control.account))
        same(told, (fb.EntryKind.Control, fb.ControlKind.Left, emma.account), "who has left")
    up = at_dora.up(chat)
    up.stream.send(fb.AppendT(id_table(new_id()), b"sealed", fb.Kind.Unsaid, 2))
    same((await up.stream.frame()).refused.code, 311, "a message before the removal")
    update, own = fb.UpdateGroupT(), member(dora)
    stays = say_commit(at_dora, Commit(chat, new_id(), 2, own, 0), fb.Action.UpdateGroup, update)
    await refusal(committed(stays), 311)
    goes = Commit(chat, new_id(), 2, own, 0, removes=(1,))
    same(await committed(say_commit(at_dora, goes, fb.Action.UpdateGroup, update)), (5, 3), "the removal")
    await refusal(at_emma.ask(fb.GetGroupT(id_table(chat))), 300)
    up = at_emma.up(chat)
    up.stream.send(fb.AppendT(id_table(new_id()), b"sealed", fb.Kind.Unsaid, 3))
    same((await up.stream.frame()).refused.code, 300, "a message of who has left")
    same(5 in at_emma.chat(chat).entries, False, "what comes after")
    await at_dora.link.leave()
    await at_emma.link.leave()


async def parts_of_nothing(stage: Stage) -> None:
    """r152 a commit whose parts do not fit its header, or that is too large, costs its stream and nothing else"""
    session, own = stage.at_alice, member(stage.alice)
    chat, head = stage.chat, len(Commit(stage.chat, new_id(), 0, own, 0).message())

    def header(**changes: int) -> fb.CommitGroupT:
        asked = fb.CommitGroupT(id_table(chat), id_table(new_id()), 0, fb.Action.UpdateGroup, fb.UpdateGroupT())
        asked.commitBytes, asked.treeBytes = changes.get("commit", head), changes.get("tree", 0)
        return asked

    for changes, code in (({"commit": 524_289}, 313), ({"commit": 0}, 312), ({"tree": 5}, 312)):
        stream = session.link.open()
        stream.send(header(**changes))
        same((await stream.answer())[-1].code, code, "the header's refusal")
    for said, code in (
        ([fb.PartT(b"", head)], 1),
        ([fb.PartT(b"x", head)], 1),
        ([fb.PartT(bytes(head + 1), 0)], 1),
        ([header()], UNEXPECTED),
    ):
        stream = session.link.open()
        stream.send(header())
        for one in said:
            stream.send(one)
        await reset_with(stream, code)
    stream = session.link.open()
    stream.send(fb.PartT(b"x", 0))
    await reset_with(stream, UNEXPECTED)


GROUPS: list[Callable[[Stage], Awaitable[None]]] = [r165_key_packages, i6_epochs, parts_of_nothing]

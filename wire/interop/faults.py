"""Clients that break the rules of bytes and streams, each in one way: what ../PROTOCOL.md says of it must come back.

After each of them the runner has the two well-behaved clients exchange messages.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import flatbuffers
import frame_generated as fb
from aioquic.buffer import encode_uint_var

from checks import (
    DONE,
    MALFORMED,
    REFUSED,
    TLS_ALERT,
    TOO_LARGE,
    UNEXPECTED,
    arrive,
    closed_with,
    refusal,
    reset_with,
    same,
    still_good,
)
from godwit import direct_chat, id_table, new_id, text
from quic import FRAME_BYTES_MAX, StreamReset, framed, pack

if TYPE_CHECKING:
    from journey import Stage

STREAM_LIMIT_ERROR = 0x4
NO_APPLICATION_PROTOCOL = TLS_ALERT + 120


def frame_of(member: int) -> bytes:
    """A frame whose union member, an empty table, has this number."""
    builder = flatbuffers.Builder(32)
    builder.StartObject(0)
    table = builder.EndObject()
    fb.FrameStart(builder)
    fb.FrameAddBodyType(builder, member)
    fb.FrameAddBody(builder, table)
    builder.Finish(fb.FrameEnd(builder))
    return framed(bytes(builder.Output()))


def ping_with_more() -> bytes:
    """A `Ping` as a later version may have it: with a field that nobody knows today."""
    builder = flatbuffers.Builder(64)
    builder.StartObject(9)
    builder.PrependUint64Slot(0, 7, 0)
    builder.PrependUint64Slot(8, 99, 0)
    ping = builder.EndObject()
    fb.FrameStart(builder)
    fb.FrameAddBodyType(builder, fb.Body.Ping)
    fb.FrameAddBody(builder, ping)
    builder.Finish(fb.FrameEnd(builder))
    return framed(bytes(builder.Output()))


async def before_hello(stage: Stage) -> None:
    """r115 a frame before Hello ends the connection; other streams may be filled early, and wait for it"""
    for early in (fb.PingT(1), fb.GetChatsT(), fb.ChatUpT(id_table(stage.chat))):
        link = await stage.node.server.connect()
        link.open().send(early)
        await closed_with(link, UNEXPECTED)
    link = await stage.node.server.connect()
    first, second = link.open(), link.open()
    second.send(fb.GetChatsT(), end=True)
    await link.ping()
    same((second.frames, second.ended, second.reset), ([], False, None), "what came before Hello")
    first.send(stage.mallory.hello(link.exporter()))
    (answer,) = await second.answer()
    same(type(answer), fb.ChatsT, "the answer after Hello")
    await link.leave()


async def oversized(stage: Stage) -> None:
    """r152 a frame that announces more than 72 KiB, or its length in eight bytes, ends the connection, on any stream"""
    for length in (encode_uint_var(FRAME_BYTES_MAX + 1), encode_uint_var(1 << 29), b"\xc0" + bytes(6) + b"\x08"):
        session = await arrive(stage.mallory)
        session.link.open().send_bytes(length)
        await closed_with(session.link, TOO_LARGE)
    link = await stage.node.server.connect()
    link.open().send_bytes(encode_uint_var(FRAME_BYTES_MAX + 1))
    await closed_with(link, TOO_LARGE)


async def malformed(stage: Stage) -> None:
    """r152 a truncated FlatBuffer, an empty one, random bytes, a torn frame: each resets its stream, and no other"""
    session = await arrive(stage.mallory)
    whole = pack(fb.LookupT("+4915200000001"))
    dice = random.Random(7)
    bodies = [whole[: len(whole) // 2], whole[:3], b"", b"\xff" * 40, *(dice.randbytes(n) for n in (1, 8, 64, 1000))]
    for body in bodies:
        stream = session.link.open()
        stream.send_bytes(framed(body))
        await reset_with(stream, MALFORMED)
    up = session.up(direct_chat(stage.mallory.account, stage.alice.account), stage.alice.account)
    up.stream.send_bytes(framed(whole[:-9]))
    await reset_with(up.stream, MALFORMED)
    torn = session.link.open()
    torn.send_bytes(framed(whole)[:-1], end=True)
    await reset_with(torn, MALFORMED)
    await still_good(session)
    session.stream.send_bytes(framed(whole[:-9]))
    await closed_with(session.link, MALFORMED)
    session = await arrive(stage.mallory)
    session.stream.send_bytes(framed(whole)[:-1], end=True)
    await closed_with(session.link, MALFORMED)


async def mutated(stage: Stage) -> None:
    """r152 frames with flipped bits get an answer, a refusal or a reset, and the connection serves on"""
    dice = random.Random(11)
    chat = direct_chat(stage.mallory.account, stage.alice.account)
    originals = [
        pack(body)
        for body in (
            fb.LookupT("+4915200000001"),
            fb.GetMessagesT(id_table(chat)),
            fb.GetChatsT(),
            fb.ChatUpT(id_table(chat), id_table(stage.alice.account)),
        )
    ]
    session = await arrive(stage.mallory)
    outcomes: dict[str, int] = {}
    for _ in range(200):
        body = bytearray(dice.choice(originals))
        for _ in range(dice.randint(1, 4)):
            body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
        stream = session.link.open()
        stream.send_bytes(framed(bytes(body)), end=True)
        try:
            answer = await stream.answer()
            outcome = f"refused {answer[-1].code}" if answer and isinstance(answer[-1], fb.RefusedT) else "answered"
        except StreamReset as reset:
            same(reset.code in (MALFORMED, UNEXPECTED), True, f"the code of a reset ({reset.code})")
            outcome = f"reset {reset.code}"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    same(len(outcomes) >= 3, True, f"all kinds of outcomes ({outcomes})")
    await still_good(session)
    await session.link.leave()


async def unknown_members(stage: Stage) -> None:
    """r115 r152 what a newer client says is skipped on session and chat streams, and refused as a request"""
    session = await arrive(stage.mallory)
    session.stream.send_bytes(frame_of(200))
    session.stream.send_bytes(ping_with_more())
    same((await session.stream.expect(fb.PongT)).clientTime, 7, "the pong")
    up = session.up(direct_chat(stage.mallory.account, stage.alice.account), stage.alice.account)
    up.stream.send_bytes(frame_of(200))
    await up.say("after something unknown")
    up.stream.finish()
    for member in (200, fb.Body.Connected, fb.Body.NONE):
        stream = session.link.open()
        stream.send_bytes(frame_of(member) if member else framed(pack_nothing()), end=True)
        answer = await stream.answer()
        same([(type(one), one.code) for one in answer], [(fb.RefusedT, 502)], f"the answer to member {member}")
    await still_good(session)
    await session.link.leave()


def pack_nothing() -> bytes:
    """A frame without a body."""
    builder = flatbuffers.Builder(16)
    fb.FrameStart(builder)
    builder.Finish(fb.FrameEnd(builder))
    return bytes(builder.Output())


async def wrong_streams(stage: Stage) -> None:
    """r115 r152 a frame where it does not belong resets its stream; the session stream takes the connection along"""
    session = await arrive(stage.mallory)
    chat = direct_chat(stage.mallory.account, stage.alice.account)
    append = fb.AppendT(id_table(new_id()), text("astray"), fb.Kind.Text)
    for first in (
        append,
        fb.MoveCursorT(1, 1),
        fb.TypingT(True),
        fb.PingT(1),
        stage.mallory.hello(session.link.exporter()),
    ):
        stream = session.link.open()
        stream.send(first)
        await reset_with(stream, UNEXPECTED)
    for second in (fb.GetChatsT(), fb.ChatUpT(id_table(chat)), fb.PingT(1)):
        up = session.up(chat, stage.alice.account)
        up.stream.send(second)
        await reset_with(up.stream, UNEXPECTED)
    await still_good(session)
    for astray in (fb.GetChatsT(), append, stage.mallory.hello(session.link.exporter())):
        session.stream.send(astray)
        await closed_with(session.link, UNEXPECTED)
        session = await arrive(stage.mallory)
    # The session stream's end is the connection's.
    session.stream.finish()
    await closed_with(session.link, DONE)


async def bad_content(stage: Stage) -> None:
    """r38 r116 empty content and 64 KiB are refused, 65,535 bytes are taken, and the stream goes on"""
    session = await arrive(stage.mallory)
    up = session.up(direct_chat(stage.mallory.account, stage.bob.account), stage.bob.account)
    for body, code in ((b"", 303), (bytes(65_536), 302)):
        up.append(body, new_id())
        await refusal(up.ack(), code)
    up.append(bytes(65_535), new_id())
    first = (await up.ack()).seq
    same(await up.say("after a large one"), first + 1, "the next place")
    await session.link.leave()


async def too_many_streams(stage: Stage) -> None:
    """r152 streams past the limit, or of a kind that clients do not open, end the connection by QUIC's own error"""
    for unidirectional in (False, True):
        session = await arrive(stage.mallory)
        session.link.quic.ignore_stream_limit()
        for _ in range(300):
            session.link.open(unidirectional).send(fb.GetChatsT())
        closed = await session.link.end()
        same((closed.code, closed.by_application), (STREAM_LIMIT_ERROR, False), f"the connection's end ({closed})")


async def many_requests(stage: Stage) -> None:
    """r152 a flood within QUIC's limits: every request is answered, if only with busy"""
    session = await arrive(stage.mallory)
    streams = [session.link.open() for _ in range(400)]
    for stream in streams:
        stream.send(fb.GetChatsT(), end=True)
    for stream in streams:
        (answer,) = await stream.answer()
        if isinstance(answer, fb.RefusedT):
            same((answer.code, answer.retry, answer.retryAfterMs > 0), (601, 1, True), "the refusal")
        else:
            same(type(answer), fb.ChatsT, "the answer")
    same(session.link.quic.streams_allowed > 400, True, "the streams allowed")
    await still_good(session)
    await session.link.leave()


async def wrong_alpn(stage: Stage) -> None:
    """r115 another protocol's name ends the handshake with no_application_protocol"""
    for alpn in ("h3", "godwit/2", "godwit"):
        link = await stage.node.server.start(alpn)
        closed = await link.end()
        same((closed.code, closed.by_application), (NO_APPLICATION_PROTOCOL, False), f"the end for {alpn} ({closed})")


async def silence(stage: Stage) -> None:
    """r152 a connection that says no Hello is ended after ten seconds"""
    await closed_with(stage.silent, REFUSED)


FAULTS: list[Callable[[Stage], Awaitable[None]]] = [
    before_hello,
    oversized,
    malformed,
    mutated,
    unknown_members,
    wrong_streams,
    bad_content,
    too_many_streams,
    many_requests,
    wrong_alpn,
    silence,
]

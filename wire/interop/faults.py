"""Clients that break the rules, each in one way: what ../PROTOCOL.md says of it must come back, and nothing else break.

After each of them the runner has the two well-behaved clients exchange messages.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import flatbuffers
import frame_generated as fb
from aioquic.buffer import encode_uint_var

from checks import refusal, same
from godwit import Device, DeviceKey, Refused, Session, direct_chat, id_table, new_id, text
from quic import FRAME_BYTES_MAX, Broken, Closed, Link, Stream, StreamEnded, StreamReset, framed, pack

if TYPE_CHECKING:
    from journey import Stage

DONE, MALFORMED, TOO_LARGE, UNEXPECTED, REFUSED = 0, 1, 2, 3, 4
STREAM_LIMIT_ERROR = 0x4
NO_APPLICATION_PROTOCOL = 0x100 + 120


async def closed_with(link: Link, code: int) -> None:
    """The server ends the connection with one of the protocol's codes."""
    closed = await link.end()
    same((closed.code, closed.by_application), (code, True), f"the connection's end ({closed})")


async def reset_with(stream: Stream, code: int) -> None:
    """The server abandons a stream with one of the protocol's codes."""
    try:
        came = await stream.frame()
    except StreamReset as reset:
        return same(reset.code, code, "the stream's code")
    except StreamEnded:
        came = "its end"
    raise Broken(f"a reset with {code} expected, {came!r} came")


async def hello_refused(device: Device, hello: Callable[[Link], fb.HelloT], code: int) -> None:
    """A `Hello` that is refused: why, on its stream, then the connection's end."""
    link = await device.server.connect()
    refused = await refusal(Session.greet(link, hello(link)), code)
    same(refused.retry, 2, "the hint")
    await closed_with(link, REFUSED)


async def arrive(device: Device) -> Session:
    """A device's session to which nothing is owed."""
    session = await Session.of(device)
    await session.synced()
    return session


async def still_good(session: Session) -> None:
    """The connection has lived through it."""
    await session.ping()


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


async def wrong_credentials(stage: Stage) -> None:
    """c1 a wrong signature, a garbage token, another's token: each is refused by its own code"""
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
    """c1 a proof captured on another connection is worth nothing: Hello, Refresh and VerifyOtp cover the exporter"""
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
    """r18 an anonymous session may register, verify and refresh, and nothing else"""
    session = await Session.anonymous(stage.node.server)
    chat = id_table(stage.chat)
    for request in (fb.GetChatsT(), fb.GetMessagesT(chat), fb.GetReceiptsT(chat, 1), fb.LookupT("+4915200000001"),
                    fb.ListDevicesT(), fb.LogoutT(), fb.RevokeDeviceT(id_table(stage.alice.key.device)), fb.ChatUpT(chat)):
        await refusal(session.ask(request), 100)
    await still_good(session)
    await session.link.leave()


async def oversized(stage: Stage) -> None:
    """r116 a frame that announces more than 72 KiB, or its length in eight bytes, ends the connection, on any stream"""
    for length in (encode_uint_var(FRAME_BYTES_MAX + 1), encode_uint_var(1 << 29), b"\xc0" + bytes(6) + b"\x08"):
        session = await arrive(stage.mallory)
        session.link.open().send_bytes(length)
        await closed_with(session.link, TOO_LARGE)
    link = await stage.node.server.connect()
    link.open().send_bytes(encode_uint_var(FRAME_BYTES_MAX + 1))
    await closed_with(link, TOO_LARGE)


async def malformed(stage: Stage) -> None:
    """r115 a truncated FlatBuffer, an empty one, random bytes, a torn frame: each resets its stream, and no other"""
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
    await torn.link.until(lambda: torn.reset is not None or torn.ended, "an end of the torn stream")
    same(torn.frames, [], "an answer to half a request")
    await still_good(session)
    session.stream.send_bytes(framed(whole[:-9]))
    await closed_with(session.link, MALFORMED)


async def mutated(stage: Stage) -> None:
    """r115 frames with flipped bits get an answer, a refusal or a reset, and the connection serves on"""
    dice = random.Random(11)
    chat = direct_chat(stage.mallory.account, stage.alice.account)
    originals = [pack(body) for body in (fb.LookupT("+4915200000001"), fb.GetMessagesT(id_table(chat)), fb.GetChatsT(),
                                         fb.ChatUpT(id_table(chat), id_table(stage.alice.account)))]
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
    """r115 what a newer client says is skipped on session and chat streams, and refused as a request"""
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
    """r115 a frame on a stream where it does not belong resets the stream; on the session stream it ends the connection"""
    session = await arrive(stage.mallory)
    chat = direct_chat(stage.mallory.account, stage.alice.account)
    append = fb.AppendT(id_table(new_id()), text("astray"), fb.Kind.Text)
    for first in (append, fb.MoveCursorT(1, 1), fb.TypingT(True), fb.PingT(1), stage.mallory.hello(session.link.exporter())):
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
        up.stream.finish()
    for chat, peer in ((stage.chat, stage.alice.account), (stage.chat, stage.bob.account), (new_id(), new_id())):
        await refusal(session.up(chat, peer).ack(), 304)
    nobody = new_id()
    await refusal(session.up(direct_chat(stage.mallory.account, nobody), nobody).say("anyone?"), 301)
    same(stage.chat in session.chats, False, "deliveries to a stranger")
    same(stage.mallory.account in stage.at_alice.chat(stage.chat).typing, False, "a stranger's typing")
    same(await stage.exchange("nobody was here"), head + 2, "the place after a stranger's tries")
    await still_good(session)
    await session.link.leave()


async def bad_content(stage: Stage) -> None:
    """r116 empty content and 64 KiB are refused, 65,535 bytes are taken, and the stream goes on"""
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
    """r115 streams past the limit, or of a kind that clients do not open, end the connection by QUIC's own error"""
    for unidirectional in (False, True):
        session = await arrive(stage.mallory)
        session.link.quic.ignore_stream_limit()
        for _ in range(300):
            session.link.open(unidirectional).send(fb.GetChatsT())
        closed = await session.link.end()
        same((closed.code, closed.by_application), (STREAM_LIMIT_ERROR, False), f"the connection's end ({closed})")


async def many_requests(stage: Stage) -> None:
    """r115 a flood within QUIC's limits: each request is answered, by its answer or by "busy", and more streams are allowed"""
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


async def wrong_authority(stage: Stage) -> None:
    """r115 this client does judge certificates: a node of another authority, or by another name, is no server of its"""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from datetime import datetime, timedelta, timezone

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
    same((closed.code, closed.by_application), (0x100 + 42, False), f"the end ({closed})")


async def replayed_early_data(stage: Stage) -> None:
    """i3 a first flight (0-RTT) appends before the handshake is complete, and what it says again has the first seq"""
    mallory, chat = stage.mallory, direct_chat(stage.mallory.account, stage.alice.account)
    tickets: list[Any] = []
    places = []
    id_ = new_id()
    link = await mallory.server.start(on_ticket=tickets.append)
    await link.until(lambda: link.handshake is not None, "the handshake")
    session = await Session.greet(link, mallory.hello(link.exporter()))
    await link.until(lambda: bool(tickets), "a ticket")
    places.append(await session.up(chat, stage.alice.account).say("early", id_))
    await link.leave()
    for name, code in ((mallory.server.host, None), ("not.this.server", 104)):
        ticket = tickets.pop()
        link = await mallory.server.start(ticket=ticket, on_ticket=tickets.append)
        hello = mallory.early_hello(int(time.time() * 1000))
        if code:
            hello.serverName = name
        session = Session(link, link.open())
        session.stream.send(hello)
        up = session.up(chat, stage.alice.account)
        up.append(text("early"), id_)
        link.transmit()
        if code:
            await refusal(session.accepted(), code)
            await closed_with(link, REFUSED)
            break
        places.append((await up.ack()).seq)
        await session.accepted()
        same((link.handshake.session_resumed, link.handshake.early_data_accepted), (True, True), "early data")
        await link.until(lambda: bool(tickets), "a ticket")
        await link.leave()
    same(len(set(places)), 1, f"one place for one message ({places})")


FAULTS: list[Callable[["Stage"], Awaitable[None]]] = [
    before_hello,
    wrong_credentials,
    captured_proofs,
    anonymous_limits,
    oversized,
    malformed,
    mutated,
    unknown_members,
    wrong_streams,
    foreign_chats,
    bad_content,
    too_many_streams,
    many_requests,
    wrong_alpn,
    wrong_authority,
    replayed_early_data,
]

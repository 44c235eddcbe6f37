"""QUIC and frames: everything below the meaning of a frame.

Written from ../PROTOCOL.md and ../schema/ alone, on aioquic. One thing is added to it: the TLS exporter (RFC 8446,
section 7.5), which proofs cover and aioquic does not offer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import flatbuffers
import frame_generated as fb
from aioquic import tls
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography.hazmat.primitives import hashes

ALPN = "godwit/1"
FRAME_BYTES_MAX = 72 * 1024
PATIENCE_S = 60.0
"""What anything is waited for at most."""

T = TypeVar("T")

BODY_NUMBERS: dict[str, int] = {name: n for name, n in vars(fb.Body).items() if not name.startswith("_")}
"""The union's members by name: a table `fb.PingT` is sent as member `Ping`."""


class Broken(Exception):
    """The server did what the protocol does not allow."""


class StreamReset(Exception):
    """The server abandoned a stream."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream reset with code {code}")
        self.code = code


class StreamEnded(Exception):
    """The server finished a stream, and everything on it was read."""


@dataclass(frozen=True)
class Closed(Exception):
    """A connection's end: an application's code, or QUIC's own."""

    code: int
    by_application: bool
    reason: str = ""

    def __str__(self) -> str:
        return f"closed by {'the application' if self.by_application else 'QUIC'}, code {self.code:#x} {self.reason}"


def pack(body: Any) -> bytes:
    """The FlatBuffer of one frame, from an object of the generated code."""
    builder = flatbuffers.Builder(256)
    name = type(body).__name__.removesuffix("T")
    builder.Finish(fb.FrameT(BODY_NUMBERS[name], body).Pack(builder))
    return bytes(builder.Output())


def framed(flatbuffer: bytes) -> bytes:
    """A frame: its length, then itself."""
    return encode_uint_var(len(flatbuffer)) + flatbuffer


class FrameReader:
    """Cuts frames from a stream's bytes."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[Any]:
        """The bodies of all frames that are complete now; members that the schema does not know are skipped."""
        self.rest += data
        bodies = []
        while (flatbuffer := self._next()) is not None:
            body = fb.FrameT.InitFromPackedBuf(flatbuffer).body
            if body is not None:
                bodies.append(body)
        return bodies

    def _next(self) -> bytes | None:
        if not self.rest:
            return None
        prefix = 1 << (self.rest[0] >> 6)
        if prefix > 4:
            raise Broken("a length of eight bytes")
        if len(self.rest) < prefix:
            return None
        length = Buffer(data=self.rest[:prefix]).pull_uint_var()
        if length > FRAME_BYTES_MAX:
            raise Broken(f"a frame of {length} bytes")
        if len(self.rest) < prefix + length:
            return None
        flatbuffer, self.rest = self.rest[prefix : prefix + length], self.rest[prefix + length :]
        return flatbuffer


class ExportingContext(tls.Context):
    """TLS that keeps the exporter master secret."""

    exporter_secret: bytes | None = None

    def _setup_traffic_protection(self, direction: tls.Direction, epoch: tls.Epoch, label: bytes) -> None:
        # "s ap traffic" and "exp master" are derived from the same secret over the same transcript: all messages up to
        # the server's Finished (RFC 8446, section 7.1). aioquic derives the former exactly here.
        if label == b"s ap traffic":
            self.exporter_secret = self.key_schedule.derive_secret(b"exp master")
        super()._setup_traffic_protection(direction, epoch, label)

    def export(self, label: bytes, context: bytes, length: int) -> bytes:
        """RFC 8446, section 7.5: the same bytes as at the server's end of this connection, and nowhere else."""
        if self.exporter_secret is None:
            raise Broken("the handshake is not complete")
        algorithm = self.key_schedule.algorithm

        def digest(data: bytes) -> bytes:
            hash_ = hashes.Hash(algorithm)
            hash_.update(data)
            return hash_.finalize()

        secret = tls.hkdf_expand_label(algorithm, self.exporter_secret, label, digest(b""), algorithm.digest_size)
        return tls.hkdf_expand_label(algorithm, secret, b"exporter", digest(context), length)


class ExportingConnection(QuicConnection):
    """aioquic's connection, with the TLS above."""

    tls: ExportingContext

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        # aioquic names the class it makes; ours has the same layout and one method more.
        self.tls.__class__ = ExportingContext

    def ignore_stream_limit(self) -> None:
        """From now on streams are opened whether the server allows them or not."""
        self._remote_max_streams_bidi = self._remote_max_streams_uni = 1 << 60
        for stream in [*self._streams_blocked_bidi, *self._streams_blocked_uni]:
            stream.is_blocked = False

    @property
    def streams_allowed(self) -> int:
        """How many bidirectional streams the server has allowed until now, closed ones included."""
        return self._remote_max_streams_bidi


@dataclass
class Stream:
    """One stream: what arrived and was not taken yet, and how it ended."""

    link: Link
    id: int
    reader: FrameReader = field(default_factory=FrameReader)
    frames: list[Any] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    stopped: int | None = None
    on_frame: Callable[[Any], None] | None = None
    """Takes frames as they come, in place of `frame`."""

    def send(self, body: Any, end: bool = False) -> None:
        """Sends one frame."""
        self.send_bytes(framed(pack(body)), end)

    def send_bytes(self, data: bytes, end: bool = False) -> None:
        """Sends bytes that may be no frame at all."""
        self.link.send(self.id, data, end)

    def finish(self) -> None:
        """Says that nothing more comes from here."""
        self.send_bytes(b"", end=True)

    async def frame(self) -> Any:
        """The next frame's body; its end, reset or the connection's end is an exception."""
        await self.link.until(lambda: bool(self.frames) or self.ended or self.reset is not None, "a frame")
        if self.frames:
            return self.frames.pop(0)
        if self.reset is not None:
            raise StreamReset(self.reset)
        raise StreamEnded

    async def expect(self, kind: type[T]) -> T:
        """The next frame, which must be of one kind."""
        body = await self.frame()
        if not isinstance(body, kind):
            raise Broken(f"{kind.__name__} expected, {describe(body)} came")
        return body

    async def answer(self) -> list[Any]:
        """All frames until the stream's end."""
        await self.link.until(lambda: self.ended or self.reset is not None, "the end of an answer")
        if self.reset is not None:
            raise StreamReset(self.reset)
        frames, self.frames = self.frames, []
        return frames

    def received(self, data: bytes, end: bool) -> None:
        """Bytes arrived."""
        for body in self.reader.feed(data):
            self.on_frame(body) if self.on_frame else self.frames.append(body)
        self.ended = self.ended or end


class Link(QuicConnectionProtocol):
    """One connection and its streams."""

    _quic: ExportingConnection

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.streams: dict[int, Stream] = {}
        self.closed: Closed | None = None
        self.broken: Broken | None = None
        self.handshake: events.HandshakeCompleted | None = None
        self.on_server_stream: Callable[[Stream], None] = lambda stream: None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def quic(self) -> ExportingConnection:
        """aioquic's connection."""
        return self._quic

    def exporter(self) -> bytes:
        """What proofs on this connection cover."""
        return self._quic.tls.export(b"EXPORTER-godwit-device-proof", b"", 32)

    def open(self, unidirectional: bool = False) -> Stream:
        """A new stream of ours."""
        id_ = self._quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        # aioquic counts a stream once something is sent on it.
        self._quic.send_stream_data(id_, b"")
        stream = self.streams[id_] = Stream(self, id_)
        return stream

    def send(self, stream: int, data: bytes, end: bool) -> None:
        if self.closed is None:
            self._quic.send_stream_data(stream, data, end)
            self.transmit()

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Waits for an event after which `done` holds; the connection's end is an exception."""
        deadline = self._loop.time() + PATIENCE_S
        while self.broken is not None or not done():
            if self.broken is not None:
                raise self.broken
            if self.closed is not None:
                raise self.closed
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await asyncio.wait_for(waiter, deadline - self._loop.time())
            except asyncio.TimeoutError:
                raise Broken(f"waited {PATIENCE_S:.0f} s for {what}") from None

    async def look(self, seconds: float, done: Callable[[], bool]) -> None:
        """Waits as `until` does, but not long, and for what may not happen."""
        try:
            await asyncio.wait_for(self.until(done, "what may not happen"), seconds)
        except asyncio.TimeoutError:
            pass

    async def end(self) -> Closed:
        """Waits for the connection's end by the server."""
        try:
            await self.until(lambda: False, "the connection's end")
        except Closed as closed:
            return closed
        raise AssertionError("the connection's end is an exception")

    async def leave(self, code: int = 0) -> None:
        """Closes the connection."""
        self._quic.close(error_code=code)
        self.transmit()
        self._transport.close()

    def quic_event_received(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.HandshakeCompleted):
            self.handshake = event
        elif isinstance(event, events.StreamDataReceived):
            try:
                self._stream(event.stream_id).received(event.data, event.end_stream)
            except Broken as broken:  # Whoever waits is told: aioquic's loop would only print it.
                self.broken = self.broken or broken
        elif isinstance(event, events.StreamReset):
            self._stream(event.stream_id).reset = event.error_code
        elif isinstance(event, events.StopSendingReceived):
            self._stream(event.stream_id).stopped = event.error_code
        elif isinstance(event, events.ConnectionTerminated):
            self.closed = Closed(event.error_code, event.frame_type is None, event.reason_phrase)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _stream(self, id_: int) -> Stream:
        if id_ not in self.streams:
            stream = self.streams[id_] = Stream(self, id_)
            self.on_server_stream(stream)
        return self.streams[id_]


@dataclass(frozen=True)
class Server:
    """Where a node is, and whom its certificate must come from."""

    host: str
    port: int
    ca: str

    async def start(
        self,
        alpn: str = ALPN,
        ticket: tls.SessionTicket | None = None,
        on_ticket: Callable[[tls.SessionTicket], None] | None = None,
    ) -> Link:
        """A connection whose handshake may not even have begun."""
        configuration = QuicConfiguration(
            alpn_protocols=[alpn], is_client=True, server_name=self.host, idle_timeout=60.0, session_ticket=ticket
        )
        configuration.load_verify_locations(cafile=self.ca)
        quic = ExportingConnection(configuration=configuration, session_ticket_handler=on_ticket)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_datagram_endpoint(
            lambda: Link(quic), family=socket.AF_INET, local_addr=("127.0.0.1", 0)
        )
        link.connect((self.host, self.port), transmit=ticket is None)
        return link

    async def connect(self, alpn: str = ALPN) -> Link:
        """A connection whose handshake is complete."""
        link = await self.start(alpn)
        await link.until(lambda: link.handshake is not None, "the handshake")
        return link


def describe(body: Any) -> str:
    """A frame's body for people: its name, and what a refusal says."""
    name = type(body).__name__.removesuffix("T")
    if isinstance(body, fb.RefusedT):
        return f"{name}({body.code}: {(body.text or b'').decode()})"
    return name


async def eventually(awaitable: Awaitable[T]) -> T:
    """What must happen before patience runs out."""
    return await asyncio.wait_for(awaitable, PATIENCE_S)

"""A Godwit client: devices and their proofs, sessions, requests, chats.

Written from ../PROTOCOL.md and ../schema/ alone.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import Any, TypeVar

import content_generated as content
import flatbuffers
import frame_generated as fb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quic import Broken, Link, Server, Stream, describe

VERSION = 1
T = TypeVar("T")


class Refused(Exception):
    """The server said a typed "no"."""

    def __init__(self, refused: fb.RefusedT) -> None:
        super().__init__(describe(refused))
        self.code: int = refused.code
        self.retry: int = refused.retry
        self.retry_after_ms: int = refused.retryAfterMs


def new_id() -> bytes:
    """A fresh identifier."""
    return os.urandom(16)


def id_table(raw: bytes) -> fb.IdT:
    """An identifier as the schema has it."""
    return fb.IdT(list(raw))


def id_bytes(id_: fb.IdT | None) -> bytes | None:
    """An identifier's bytes."""
    return None if id_ is None else bytes(id_.bytes)


def direct_chat(one: bytes, other: bytes) -> bytes:
    """The id of the 1:1 chat of two accounts."""
    return hashlib.sha256(b"godwit direct chat\0" + min(one, other) + max(one, other)).digest()[:16]


def text(said: str) -> bytes:
    """A message's content."""
    builder = flatbuffers.Builder(64)
    builder.Finish(content.ContentT(content.Said.Text, content.TextT(said.encode())).Pack(builder))
    return bytes(builder.Output())


def text_of(entry: fb.EntryT) -> str:
    """What an entry says."""
    unpacked = content.ContentT.InitFromPackedBuf(bytes(entry.content))
    if unpacked.saidType != content.Said.Text:
        raise Broken("an entry that is no text")
    return unpacked.said.text.decode()


class DeviceKey:
    """A device's Ed25519 key, and what it signs."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.device = hashlib.sha256(self.public).digest()[:16]

    def prove(self, label: str, exporter: bytes, *fields: bytes) -> bytes:
        """A proof; early data has no exporter."""
        said = label.encode() + b"\0" + exporter
        for one in fields:
            said += struct.pack(">H", len(one)) + one
        return self._key.sign(said)


@dataclass
class Device:
    """What a device keeps: who it is, its key and its tokens."""

    server: Server
    key: DeviceKey
    account: bytes
    name: str
    phone: str
    access: str
    access_expires: int
    refresh: bytes

    def keep(self, tokens: fb.TokensT) -> None:
        """Takes renewed tokens."""
        self.access, self.access_expires = tokens.access.decode(), tokens.accessExpires
        self.refresh = bytes(tokens.refresh)

    def hello(self, exporter: bytes, cursors: dict[bytes, int] | None = None, since: int = 0) -> fb.HelloT:
        """What begins an ordinary session."""
        stated = [fb.HelloCursorT(id_table(chat), delivered) for chat, delivered in (cursors or {}).items()]
        return fb.HelloT(
            version=VERSION,
            token=self.access,
            proof=self.key.prove("godwit/1 hello", exporter, self.access.encode()),
            receiptsSince=since,
            cursors=stated or None,
            client="interop",
        )

    def early_hello(self, now_ms: int) -> fb.HelloT:
        """What begins a session in early data."""
        name = self.server.host
        fields = (self.access.encode(), name.encode(), struct.pack(">Q", now_ms))
        proof = self.key.prove("godwit/1 hello early", b"", *fields)
        return fb.HelloT(version=VERSION, token=self.access, proof=proof, signedAt=now_ms, serverName=name)

    def renewal(self, exporter: bytes, request: bytes) -> fb.RefreshT:
        """What asks for new tokens."""
        return fb.RefreshT(
            token=self.refresh,
            request=id_table(request),
            deviceKey=self.key.public,
            proof=self.key.prove("godwit/1 refresh", exporter, self.refresh, request),
        )


@dataclass
class Chat:
    """One chat as a device knows it."""

    entries: dict[int, fb.EntryT] = field(default_factory=dict)
    cursors: dict[bytes, fb.CursorMovedT] = field(default_factory=dict)
    typing: dict[bytes, bool] = field(default_factory=dict)
    arrivals: int = 0
    """Entries that came, repeats included; those that an ack stands for, too."""
    owed: int = 0
    """The next entry on the chat's stream."""
    unanswered: dict[bytes, bytes] = field(default_factory=dict)
    """What was said on this connection and has no answer, by its id."""
    by_ack: set[int] = field(default_factory=set)
    """Own messages whose acks stand for their entries."""
    early: list[fb.EntryT] = field(default_factory=list)
    """Entries that came before an ack that may stand for what lies before them."""

    def acked(self, ack: fb.AppendAckT, sender: fb.IdT, device: fb.IdT) -> None:
        """A message is committed; if the device's cursor covers it, the server does not send it."""
        body = self.unanswered.pop(id_bytes(ack.clientMsgId), b"")
        if ack.delivered >= ack.seq:
            self.by_ack.add(ack.seq)
            if ack.seq not in self.entries:
                said = {"clientMsgId": ack.clientMsgId, "kind": fb.Kind.Text, "content": body}
                self.entries[ack.seq] = fb.EntryT(seq=ack.seq, at=ack.at, sender=sender, device=device, **said)
                self.arrivals += 1
        self.settle()

    def settle(self) -> None:
        """Takes entries in their order, as far as acks have filled the places between."""
        while self.early:
            entry = self.early[0]
            while self.owed < entry.seq and self.owed in self.by_ack:
                self.owed += 1
            if entry.seq != self.owed:
                if self.unanswered:
                    return
                raise Broken(f"entry {entry.seq} where {self.owed} follows")
            self.early.pop(0)
            self.owed += 1
            self.arrivals += 1
            self.entries[entry.seq] = entry

    def stored(self) -> int:
        """Up to where everything is here."""
        seq = 0
        while seq + 1 in self.entries:
            seq += 1
        return seq

    def ticks(self, seq: int, member: bytes) -> tuple[bool, bool]:
        """Whether a member has got and has read an entry."""
        moved = self.cursors.get(member)
        if moved is None or any(gap.first <= seq <= gap.last for gap in moved.withheld or []):
            return False, False
        return moved.delivered >= seq, moved.read >= seq


class Up:
    """A chat's up stream."""

    def __init__(self, stream: Stream, session: Session, chat: Chat) -> None:
        self.stream = stream
        self.session = session
        self.chat = chat
        stream.on_frame = self._heard

    def _heard(self, body: Any) -> None:
        """What an answer says of the chat counts when it comes, whoever waits for it."""
        if isinstance(body, fb.AppendAckT):
            connected = self.session.connected
            self.chat.acked(body, connected and connected.account, connected and connected.device)
        elif isinstance(body, fb.AppendRefusedT):
            self.chat.unanswered.pop(id_bytes(body.clientMsgId), None)
            self.chat.settle()
        self.stream.frames.append(body)

    def append(self, body: bytes, client_msg_id: bytes) -> None:
        """Says a message; its answer comes in turn."""
        self.chat.unanswered[client_msg_id] = body
        self.stream.send(fb.AppendT(id_table(client_msg_id), body, fb.Kind.Text))

    async def ack(self) -> fb.AppendAckT:
        """The next answer, which must be a tick."""
        answer = await self.stream.frame()
        if isinstance(answer, fb.AppendRefusedT):
            raise Refused(answer.refused)
        if isinstance(answer, fb.RefusedT):
            raise Refused(answer)
        if not isinstance(answer, fb.AppendAckT):
            raise Broken(f"{describe(answer)} answers an append")
        return answer

    async def say(self, said: str, client_msg_id: bytes | None = None) -> int:
        """Says a message and waits for its tick; returns its place."""
        client_msg_id = client_msg_id or new_id()
        self.append(text(said), client_msg_id)
        ack = await self.ack()
        if id_bytes(ack.clientMsgId) != client_msg_id:
            raise Broken("an ack of another message")
        return ack.seq

    def move(self, delivered: int, read: int) -> None:
        """Moves the device's cursors."""
        self.stream.send(fb.MoveCursorT(delivered, read))

    def typing(self, typing: bool) -> None:
        """The person types, or has stopped."""
        self.stream.send(fb.TypingT(typing))


class Session:
    """A connection on which `Hello` was accepted."""

    def __init__(self, link: Link, stream: Stream, chats: dict[bytes, Chat] | None = None) -> None:
        self.link = link
        self.stream = stream
        self.connected: fb.ConnectedT | None = None
        self.chats: dict[bytes, Chat] = {} if chats is None else chats
        self.downs: dict[bytes, Stream] = {}
        link.on_server_stream = self._down

    @staticmethod
    async def anonymous(server: Server) -> Session:
        """A session that may only register, verify and refresh."""
        link = await server.connect()
        return await Session.greet(link, fb.HelloT(version=VERSION, client="interop"))

    @staticmethod
    async def of(device: Device, since: int = 0, chats: dict[bytes, Chat] | None = None) -> Session:
        """A device's session; `chats` are what it stored, and delivery resumes behind them."""
        link = await device.server.connect()
        cursors = {chat: known.stored() for chat, known in (chats or {}).items()}
        return await Session.greet(link, device.hello(link.exporter(), cursors, since), chats)

    @staticmethod
    async def greet(link: Link, hello: fb.HelloT, chats: dict[bytes, Chat] | None = None) -> Session:
        """Says `Hello`, which must be accepted."""
        session = Session(link, link.open(), chats)
        session.stream.send(hello)
        await session.accepted()
        return session

    async def accepted(self) -> fb.ConnectedT:
        """Waits for the answer to `Hello`."""
        answer = await self.stream.frame()
        if isinstance(answer, fb.RefusedT):
            raise Refused(answer)
        if not isinstance(answer, fb.ConnectedT):
            raise Broken(f"{describe(answer)} answers Hello")
        self.connected = answer
        return answer

    async def synced(self) -> int:
        """Waits until all that was owed at `Hello` is here."""
        return (await self.stream.expect(fb.SyncedT)).through

    async def ping(self) -> None:
        """A heartbeat, and its answer."""
        self.stream.send(fb.PingT(7))
        if (await self.stream.expect(fb.PongT)).clientTime != 7:
            raise Broken("a pong of another ping")

    async def ask(self, request: Any) -> list[Any]:
        """One request; the frames of its answer."""
        stream = self.link.open()
        stream.send(request, end=True)
        answer = await stream.answer()
        if answer and isinstance(answer[-1], fb.RefusedT):
            raise Refused(answer[-1])
        return answer

    async def ask_one(self, request: Any, kind: type[T]) -> T:
        """One request whose answer is one frame."""
        answer = await self.ask(request)
        if len(answer) != 1 or not isinstance(answer[0], kind):
            raise Broken(f"{kind.__name__} expected, {[describe(one) for one in answer]} came")
        return answer[0]

    def chat(self, chat: bytes) -> Chat:
        """What is known of a chat."""
        return self.chats.setdefault(chat, Chat())

    def up(self, chat: bytes, peer: bytes | None = None) -> Up:
        """An up stream for a chat."""
        stream = self.link.open()
        stream.send(fb.ChatUpT(id_table(chat), peer and id_table(peer)))
        return Up(stream, self, self.chat(chat))

    async def history(self, chat: bytes, **page: int) -> tuple[list[fb.EntryT], fb.PageT]:
        """One page."""
        *entries, last = await self.ask(fb.GetMessagesT(id_table(chat), **page))
        if not isinstance(last, fb.PageT) or not all(isinstance(entry, fb.EntryT) for entry in entries):
            raise Broken("a page is entries, then Page")
        return entries, last

    async def renew(self, device: Device, request: bytes) -> fb.RefreshedT:
        """Renews a device's tokens; the caller keeps them."""
        return await self.ask_one(device.renewal(self.link.exporter(), request), fb.RefreshedT)

    def _down(self, stream: Stream) -> None:
        """The server opened a stream: it must be a chat's."""
        chat: Chat | None = None

        def take(body: Any) -> None:
            nonlocal chat
            if chat is None:
                if not isinstance(body, fb.ChatDownT):
                    raise Broken(f"{describe(body)} begins a server's stream")
                id_ = id_bytes(body.chat)
                if id_ in self.downs and not self.downs[id_].ended:
                    raise Broken("a second down stream for a chat")
                self.downs[id_], chat = stream, self.chat(id_)
                chat.owed, chat.early = body.fromSeq, []
            elif isinstance(body, fb.EntryT):
                chat.early.append(body)
                chat.settle()
            elif isinstance(body, fb.CursorMovedT):
                before = chat.cursors.get(id_bytes(body.member))
                if (
                    body.read > body.delivered
                    or before
                    and (body.delivered < before.delivered or body.read < before.read)
                ):
                    raise Broken("cursors that go back")
                chat.cursors[id_bytes(body.member)] = body
            elif isinstance(body, fb.TypingIndicatorT):
                chat.typing[id_bytes(body.member)] = body.typing
            else:
                raise Broken(f"{describe(body)} on a chat's stream")

        stream.on_frame = take


@dataclass(frozen=True)
class Registration:
    """One person's registration, step by step."""

    server: Server
    phone: str
    name: str
    install: bytes = field(default_factory=new_id)
    request: bytes = field(default_factory=new_id)

    async def ask(self, session: Session) -> fb.RegisteredT:
        """Has a code sent."""
        asked = fb.RegisterT(self.phone, self.name, id_table(self.install), id_table(self.request))
        return await session.ask_one(asked, fb.RegisteredT)

    async def verify(self, session: Session, registration: bytes, otp: str, key: DeviceKey) -> Device:
        """Proves number and key; the device exists after it."""
        proof = key.prove("godwit/1 verify-otp", session.link.exporter(), registration, key.public)
        asked = fb.VerifyOtpT(id_table(registration), otp, key.public, "interop", proof)
        verified = await session.ask_one(asked, fb.VerifiedT)
        if id_bytes(verified.device) != key.device:
            raise Broken("the device's id is not its key's")
        device = Device(self.server, key, id_bytes(verified.account), self.name, self.phone, "", 0, b"")
        device.keep(verified.tokens)
        return device

"""What of MLS (RFC 9420) a server looks at, byte by byte: key packages, commits, welcomes, trees.

None of it is signed or sealed, so that no member could use it: a server has no keys, and must go by the rest.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass

MLS10, SUITE, BASIC = 1, 1, 1
PUBLIC_MESSAGE, WELCOME, KEY_PACKAGE = 1, 3, 5
FROM_KEY_PACKAGE, FROM_COMMIT = 1, 3
LIFETIME, LAST_RESORT = 0xF0D0, 0x000A
FOR_EVER = 2**64 - 1


def u16(*numbers: int) -> bytes:
    """16-bit numbers."""
    return struct.pack(f">{len(numbers)}H", *numbers)


def vector(data: bytes) -> bytes:
    """Data behind its length (section 2.1.2)."""
    size = len(data)
    if size < 1 << 6:
        return bytes([size]) + data
    if size < 1 << 14:
        return struct.pack(">H", size | 1 << 14) + data
    return struct.pack(">I", size | 2 << 30) + data


@dataclass(frozen=True)
class Member:
    """A device as a leaf has it."""

    account: bytes
    device: bytes
    public: bytes

    def leaf(self, source: int = FROM_KEY_PACKAGE) -> bytes:
        """A leaf (section 7.2)."""
        credential = u16(BASIC) + vector(self.account + self.device)
        capabilities = b"".join(vector(b"") for _ in range(5))
        of_source = bytes(8) + b"\xff" * 8 if source == FROM_KEY_PACKAGE else vector(b"")
        made = vector(os.urandom(32)) + vector(self.public) + credential + capabilities
        return made + bytes([source]) + of_source + vector(b"") + vector(bytes(64))

    def key_package(self, since: int = 0, until: int = FOR_EVER, last_resort: bool = False) -> bytes:
        """A key package (section 10), as a message."""
        extensions = u16(LIFETIME) + vector(struct.pack(">QQ", since, until))
        extensions += u16(LAST_RESORT) + vector(b"") if last_resort else b""
        made = u16(MLS10, SUITE) + vector(os.urandom(32)) + self.leaf() + vector(extensions) + vector(bytes(64))
        return u16(MLS10, KEY_PACKAGE) + made


def reference(key_package: bytes) -> bytes:
    """What names a key package, given as a message (section 5.2)."""
    return hashlib.sha256(vector(b"MLS 1.0 KeyPackage Reference") + vector(key_package[4:])).digest()


def welcome(key_package: bytes) -> bytes:
    """A welcome for one device (section 12.4.3.1)."""
    secrets = vector(reference(key_package)) + vector(os.urandom(32)) + vector(os.urandom(64))
    return u16(MLS10, WELCOME, SUITE) + vector(secrets) + vector(os.urandom(300))


def tree(*members: Member) -> bytes:
    """A tree of these, by leaf, with blank nodes between (section 12.4.3.3)."""
    leaves = [b"\x01\x01" + member.leaf() for member in members]
    return vector(b"\x00".join(leaves))


@dataclass(frozen=True)
class Commit:
    """A commit (section 12.4) by the device at a leaf: adds, removes, and a path if it needs one."""

    chat: bytes
    client_msg_id: bytes
    epoch: int
    by: Member
    leaf: int
    adds: tuple[bytes, ...] = ()
    removes: tuple[int, ...] = ()

    def message(self) -> bytes:
        """It as a message."""
        proposals = b"".join(b"\x01" + u16(1) + package[4:] for package in self.adds)
        proposals += b"".join(b"\x01" + u16(3) + struct.pack(">I", leaf) for leaf in self.removes)
        path = b"\x01" + self.by.leaf(FROM_COMMIT) + vector(b"") if self.removes or not self.adds else b"\x00"
        made = u16(MLS10, PUBLIC_MESSAGE) + vector(b"\x01" + self.chat) + struct.pack(">QBI", self.epoch, 1, self.leaf)
        made += vector(b"\x01" + self.client_msg_id) + b"\x03" + vector(proposals) + path
        return made + vector(bytes(64)) + vector(bytes(32)) + vector(bytes(32))

"""What checks ask of a server, and how they fail."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from godwit import Device, Refused, Session
from quic import Broken, Link, Stream, StreamEnded, StreamReset

DONE, MALFORMED, TOO_LARGE, UNEXPECTED, REFUSED, REPLACED, REVOKED = 0, 1, 2, 3, 4, 7, 9
"""The protocol's close codes."""

TLS_ALERT = 0x100
"""What QUIC adds to a TLS alert to close with it."""


def same(found: Any, wanted: Any, what: str) -> None:
    """Fails the run unless both are equal."""
    if found != wanted:
        raise Broken(f"{what}: {wanted!r} expected, {found!r} found")


async def refusal(awaitable: Awaitable[Any], code: int) -> Refused:
    """Waits for a "no" with this code."""
    try:
        came = await awaitable
    except Refused as refused:
        same(refused.code, code, f"the refusal's code ({refused})")
        return refused
    raise Broken(f"refusal {code} expected, {came!r} came")


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


async def arrive(device: Device) -> Session:
    """A device's session to which nothing is owed."""
    session = await Session.of(device)
    await session.synced()
    return session


async def still_good(session: Session) -> None:
    """The connection has lived through it."""
    await session.ping()

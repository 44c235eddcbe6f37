"""How a check fails."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from godwit import Refused
from quic import Broken


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

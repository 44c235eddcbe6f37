"""A client of ours, `godwit`, as somebody to write to: it is found, and its key packages are there for whoever encrypts."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import frame_generated as fb

from checks import same
from godwit import id_bytes
from groups import claim
from quic import PATIENCE_S, Broken

if TYPE_CHECKING:
    from journey import Node, Stage


class Cli:
    """Our own terminal client, as a person with a profile."""

    def __init__(self, program: str, node: Node, profile: Path, phone: str) -> None:
        self.program, self.profile, self.phone = program, profile, phone
        server = f"{node.server.host}:{node.server.port}"
        self.run(
            "register",
            "--server",
            server,
            "--ca",
            node.server.ca,
            "--phone",
            phone,
            "--name",
            "Dora",
            "--code-file",
            str(node.data / "sms.jsonl"),
        )

    def run(self, command: str, *arguments: str) -> list[Any]:
        """One command to its end, and the JSON it printed."""
        typed = [self.program, command, "--json", "--profile", str(self.profile), *arguments]
        ran = subprocess.run(typed, capture_output=True, text=True, timeout=PATIENCE_S)
        if ran.returncode != 0:
            raise Broken(f"godwit {command} ended with {ran.returncode}: {ran.stderr}")
        return [json.loads(line) for line in ran.stdout.splitlines()]

    async def does(self, command: str, *arguments: str) -> list[Any]:
        """The same, while our connections live on."""
        return await asyncio.get_running_loop().run_in_executor(None, lambda: self.run(command, *arguments))


def both_stacks(program: str, work: Path) -> Callable[[Stage], Awaitable[None]]:
    """The check, with the program and a folder for its profile."""

    async def check(stage: Stage) -> None:
        dora = await asyncio.get_running_loop().run_in_executor(
            None, lambda: Cli(program, stage.node, work / "dora", "+4915200000007")
        )
        found = await stage.at_alice.ask_one(fb.LookupT(dora.phone), fb.FoundT)
        account = id_bytes(found.account)
        # What is said to it must be sealed, and this client seals nothing; but everything for that is there.
        first, second = [await claim(stage.at_alice, account) for _ in range(2)]
        same([len(first), len(second)], [1, 1], "key packages of Dora's one device")
        same([id_bytes(package.account) for package in first + second], [account, account], "whose they are")
        handed = [bytes(package.bytes) for package in first + second]
        same(handed[0] != handed[1] and not first[0].lastResort, True, "each is handed out once")
        # MLS 1.0, a key package (RFC 9420, section 6), of Dora's account and device (section 5.3).
        same([package[:4] for package in handed], [b"\0\1\0\5"] * 2, "what they are")
        identity = account + id_bytes(first[0].device)
        same([identity in package for package in handed], [True, True], "who is in their credential")

    check.__doc__ = "r12 r165 a client of ours is found, and anybody can encrypt for its device"
    return check

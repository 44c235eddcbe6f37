"""A client of ours, `godwit`, as the other side of a chat: both stacks must read each other."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import frame_generated as fb

from checks import same
from godwit import id_bytes, text_of
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
        account, chat = id_bytes(found.account), id_bytes(found.chat)
        up = stage.at_alice.up(chat, account)
        seq = await up.say("grüße aus Python 🐦")
        heard = await dora.does("tail", "--read", "--count", "1")
        same([line["text"] for line in heard if line["event"] == "message"], ["grüße aus Python 🐦"], "what Dora read")
        known = stage.at_alice.chat(chat)
        await stage.at_alice.link.until(lambda: known.ticks(seq, account) == (True, True), "Dora's blue ticks")
        await dora.does("send", "--to", stage.alice.phone, "grüße aus Rust 🦀")
        await stage.at_alice.link.until(lambda: seq + 1 in known.entries, "Dora's message")
        same(text_of(known.entries[seq + 1]), "grüße aus Rust 🦀", "what Alice read")
        same(id_bytes(known.entries[seq + 1].sender), account, "who said it")
        up.move(seq + 1, seq + 1)
        # An answer on the same stream after the move's: history then says it.
        await up.say("read")
        up.stream.finish()
        waited = await dora.does("send", "--to", stage.alice.phone, "a tick for Dora")
        same(any(line["event"] == "sent" for line in waited), True, f"Dora's tick ({waited})")
        history = await dora.does("history", "--with", stage.alice.phone)
        ticks = [line.get("ticks") for line in history if line.get("text") == "grüße aus Rust 🦀"]
        same(ticks, ["✓✓ read"], "Dora's ticks")

    check.__doc__ = "r12 a client of ours and this one read each other, text and ticks, both ways"
    return check

"""Starts the programs of this folder that kill themselves at one step of their work."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import asyncpg
import pytest

from scripts.local.home import REPOSITORY
from scripts.local.process import unmeasured
from scripts.local.stack import Stack
from service.platform.resources import Platform
from tests.support import MODELLESS

if TYPE_CHECKING:
    from tests.chaos.forkserver import Program  # which imports the product

LEASE_SECONDS = 2
DEATH_SECONDS = 90


def alone(queue: str) -> dict[str, str]:
    """Environment of a worker of this queue that does one thing at a time and whose leases lapse soon."""
    return {
        "DARKROOM_QUEUE": queue,
        "DARKROOM_LEASE_SECONDS": str(LEASE_SECONDS),
        "DARKROOM_WORKER_SLOTS": "1",
    }


async def hand_over(
    platform: Platform,
    db: asyncpg.Connection[asyncpg.Record],
    table: Literal["jobs", "data_requests"],
    row_id: UUID,
) -> None:
    """Let the shared worker take up what one of another queue has left: to start a survivor each time would cost
    seconds. The lease stays the dead worker's, and must lapse."""
    await db.execute(f"update public.{table} set queue = 'default' where id = $1", row_id)
    await platform.doorbell.ring("default")


class ForkServer:
    """Starts programs that kill themselves (tests/chaos/forkserver.py), one at a time."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._process: asyncio.subprocess.Process | None = None

    async def run_until_killed(
        self, program: str, step: str, *arguments: str, env: Mapping[str, str]
    ) -> None:
        """Start `dying_api`, `dying_requester` or `dying_worker`; return when it has killed itself at this step."""
        log = self._stack.home.logs / f"{program}-{step}-{secrets.token_hex(4)}.log"
        wanted: Program = {
            "program": program,
            "arguments": [step, *arguments],
            "env": self._stack.environment({**MODELLESS, **env}),
            "log": str(log),
        }
        try:
            async with asyncio.timeout(DEATH_SECONDS):
                status = await self._ask(json.dumps(wanted))
        except BaseException:
            await self.close()
            raise
        if status != -signal.SIGKILL:
            pytest.fail(
                f"{program} ended with {status} before {step}:\n{log.read_text()[-5000:]}", pytrace=False
            )

    async def _ask(self, program: str) -> int:
        if self._process is None:
            # Coverage is not measured: SIGKILL leaves no time to save what was.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.forkserver"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **unmeasured()},
                cwd=REPOSITORY,
            )
        told, heard = self._process.stdin, self._process.stdout
        assert told is not None
        assert heard is not None
        told.write(program.encode() + b"\n")
        await told.drain()
        return int(await heard.readline())

    async def close(self) -> None:
        """Kill whatever runs; it dies with its parent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()

"""Starts the programs of this folder that kill themselves at one step of their work."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import asyncpg

from scripts.local.home import REPOSITORY
from scripts.local.process import Child, Command, unmeasured
from scripts.local.stack import Stack
from service.platform.resources import Platform

LEASE_SECONDS = 2


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


async def start_dying(
    stack: Stack, program: str, step: str, *arguments: str, env: Mapping[str, str]
) -> Child:
    """Start `dying_api`, `dying_requester` or `dying_worker`. Coverage is not measured: SIGKILL leaves no time to save
    what was."""
    argv = [sys.executable, "-m", f"tests.chaos.{program}", step, *arguments]
    command = Command(program, argv, env=stack.environment({**env, **unmeasured()}), cwd=REPOSITORY)
    return await Child.start(command, stack.home.logs / f"{program}-{step}-{secrets.token_hex(4)}.log")

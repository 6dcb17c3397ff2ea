"""Starts the programs of this folder that kill themselves at one step of their work."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping

from scripts.local.home import REPOSITORY
from scripts.local.process import Child, Command, unmeasured
from scripts.local.stack import Stack


async def start_dying(
    stack: Stack, program: str, step: str, *arguments: str, env: Mapping[str, str]
) -> Child:
    """Start `dying_api`, `dying_requester` or `dying_worker`. Coverage is not measured: SIGKILL leaves no time to save
    what was."""
    argv = [sys.executable, "-m", f"tests.chaos.{program}", step, *arguments]
    command = Command(program, argv, env=stack.environment({**env, **unmeasured()}), cwd=REPOSITORY)
    return await Child.start(command, stack.home.logs / f"{program}-{step}-{secrets.token_hex(4)}.log")

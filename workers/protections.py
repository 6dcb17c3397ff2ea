"""A worker's measurement of its own sandbox, once, when it starts."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pydantic import BaseModel, TypeAdapter

from service.platform.protections import Protections
from service.platform.scratch import Scratch
from workers.imaging.children import ChildLostError, Lease, Models
from workers.sandbox.probe import Attempt

ENTRY: Final = "workers.sandbox.probe:attempt"
SECONDS: Final = 20.0
_ATTEMPT: Final = TypeAdapter(Attempt)


LONGEST_ADDRESS = 107
"""Bytes of a Unix socket's address."""


class _Answer(BaseModel):
    value: Protections


class UnprotectedError(RuntimeError):
    """What the settings demand of the sandbox does not hold on this machine."""


async def measure(scratch: Scratch, models: Models = ()) -> Protections:
    """Let a pixel child try to break out; everything is False where it does not even answer. `models`: those
    of a pool that runs; then it is a child of its fork server."""
    with ExitStack() as stack:
        outside = stack.enter_context(scratch.directory())
        workdir = stack.enter_context(scratch.directory())
        secret = outside / "secret"
        await asyncio.to_thread(secret.write_bytes, b"of another picture")
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        name = f"darkroom-{secrets.token_hex(8)}"
        for address in (f"\0{name}", str(outside / "socket")):
            if len(os.fsencode(address)) > LONGEST_ADDRESS:
                continue  # DARKROOM_TEMP_DIR is long; the other one is tried
            unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            unix.bind(address)
            unix.listen()
        async with Lease(models) as lease:
            child = await lease.fork(ENTRY, memory_mb=256)
            try:
                others = _others({child.pid})
                task = Attempt(workdir, others, outside, secret, listener.getsockname()[1], name)
                async with asyncio.timeout(SECONDS):
                    answer = await child.ask(_ATTEMPT.dump_json(task))
                return _Answer.model_validate_json(answer).value
            except (TimeoutError, ChildLostError, ValueError):
                return Protections()
            finally:
                await child.end()


def _others(mine: set[int]) -> tuple[int, ...]:
    """Every process that can be seen from here."""
    try:
        return tuple(
            sorted({int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()} - mine)
        )
    except OSError:
        return (os.getpid(), os.getppid())


def demand(found: Protections, names: Sequence[str]) -> None:
    """Raises UnprotectedError, naming what is missing."""
    missing = [name for name in names if not getattr(found, name)]
    if missing:
        raise UnprotectedError(
            f"Pixel children are not confined as DARKROOM_PIXEL_SANDBOX demands; missing: {', '.join(missing)}. "
            "docs/safety.md says what each needs of the kernel and the container."
        )

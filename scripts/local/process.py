"""Child processes that cannot outlive their supervisor.

Every child is the leader of its own session (a Ctrl-C in the terminal reaches the supervisor
alone, which then stops things in order) and asks the kernel for a signal when its parent dies, so
that even `kill -9` of the supervisor leaves no orphan.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class StackError(Exception):
    """The stack cannot do what was asked; the text is meant for the user."""


@dataclass(frozen=True)
class Command:
    """What to run: `become` is called in the child before exec (used to drop privileges).

    Arguments can be read by every user of the machine: secrets go into `env` or `stdin`.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes = field(default=b"", repr=False)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 10.0
    become: Callable[[], None] | None = None


def _prepare(command: Command, parent: int) -> Callable[[], None]:
    """The function that runs between fork and exec. The death signal comes last: changing uid clears it."""

    def prepare() -> None:
        os.umask(0o077)
        if command.become is not None:
            command.become()
        _libc.prctl(_PR_SET_PDEATHSIG, int(command.death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return prepare


def _append_to(log: Path) -> IO[bytes]:
    """Open a log that only its owner can read."""
    log.touch(mode=0o600)
    return log.open("ab")


class Child:
    """One running process. `kill` is SIGKILL and returns at once; `stop` is orderly and waits."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.log = log
        self.url = ""  # of a server that has one of its own
        self._process: asyncio.subprocess.Process | None = None
        self.stopping = False

    @classmethod
    async def start(cls, command: Command, log: Path) -> Child:
        """Start `command` with its output appended to `log`."""
        child = cls(command, log)
        with _append_to(log) as out:
            child._process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=command.cwd,
                env={**os.environ, **command.env},
                start_new_session=True,
                preexec_fn=_prepare(command, os.getpid()),
            )
        if child._process.stdin is not None:
            child._process.stdin.write(command.stdin)
            child._process.stdin.close()
        return child

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise StackError(f"{self.command.name} was never started")
        return self._process

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; negative is the signal that ended it; None while it runs."""
        return self._running.returncode

    async def wait(self) -> int:
        return await self._running.wait()

    def kill(self) -> None:
        """SIGKILL the process and whatever is left of its session's process group."""
        self.stopping = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> int:
        """Ask politely, wait `stop_seconds`, then kill; returns the exit status."""
        self.stopping = True
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._running.send_signal(self.command.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), self.command.stop_seconds)
        self.kill()
        return await self.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log, for error messages."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""


def unmeasured() -> dict[str, str]:
    """Variables that keep coverage measurement (in tests) out of a Python child that is not the product."""
    return {key: "" for key in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG") if key in os.environ}


async def until_ready(child: Child, probe: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Call `probe` until it returns without an error; StackError, and the child killed, when that is hopeless."""
    try:
        await _probe_until(child, probe, seconds)
    except BaseException:
        child.kill()
        raise


async def _probe_until(child: Child, probe: Callable[[], Awaitable[object]], seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if child.returncode is not None:
            raise StackError(f"{child.command.name} ended with status {child.returncode}:\n{child.tail()}")
        try:
            await probe()
        except Exception as error:
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(
                    f"{child.command.name} was not ready after {seconds:.0f} s ({error!r}):\n{child.tail()}"
                ) from error
            await asyncio.sleep(0.03)
        else:
            return

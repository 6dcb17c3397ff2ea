"""`python -m scripts.local up [--no-app] [--home DIR]`: the embedded stack in the foreground until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from scripts.local.process import StackError
from scripts.local.stack import Stack


async def _up(home: Path | None, *, app: bool, until: int | None) -> None:
    stopped = stop_event()
    if until is not None:
        watched = os.pidfd_open(until)  # readable when that process has ended
        asyncio.get_running_loop().add_reader(watched, stopped.set)
    async with Stack(home, app=app) as stack:
        print(stack.home.local_json.read_text("utf-8"), end="", flush=True)
        await stopped.wait()


def stop_event() -> asyncio.Event:
    """Set by Ctrl-C, SIGTERM, or the terminal going away."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the stack in the foreground")
    up.add_argument("--no-app", action="store_true", help="platform only: no API, no worker")
    up.add_argument("--home", type=Path, help="state directory (default: DARKROOM_HOME or .darkroom)")
    up.add_argument("--until-pid", type=int, help="stop when this process has ended")
    arguments = parser.parse_args()
    try:
        asyncio.run(_up(arguments.home, app=not arguments.no_app, until=arguments.until_pid))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

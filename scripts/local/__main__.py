"""The local tools: `run` (scripts/run), `check` (scripts/test), `up` (the stack alone), `types`, `migration`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

from scripts.local.check import TYPES, check, generate_migration, generate_types
from scripts.local.demo import SAMPLE_OP, DemoError
from scripts.local.migration import write_migration_of_tables
from scripts.local.process import StackError
from scripts.local.run import Options, run
from scripts.local.stack import Stack


async def _up(home: Path | None, *, app: bool) -> int:
    async with Stack(home, app=app) as stack:
        print(f"The stack is up: {stack.home.local_json}", flush=True)
        await asyncio.Event().wait()
    return 0


async def _until_stopped(main: Coroutine[None, None, int]) -> int:
    """Run `main`; Ctrl-C, SIGTERM or a closed terminal cancels it, once."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            print("\nstopping", file=sys.stderr)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return 0


def main() -> int:
    arguments, rest = _parser().parse_known_args()
    if rest and arguments.command != "check":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        match arguments.command:
            case "check":
                return check(rest)
            case "types":
                TYPES.write_text(asyncio.run(generate_types()), "utf-8")
                return 0
            case "migration":
                if arguments.table:
                    made: Path | None = write_migration_of_tables(arguments.name)
                else:
                    made = asyncio.run(generate_migration(arguments.name))
                print(made or "nothing was changed: no migration is needed")
                return 0
            case "up":
                return asyncio.run(_until_stopped(_up(arguments.home, app=not arguments.no_app)))
            case _:
                options = Options(arguments.once, arguments.photo, arguments.op_key, arguments.out)
                return asyncio.run(_until_stopped(run(options)))
    except (StackError, DemoError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the stack in the foreground until Ctrl-C")
    up.add_argument("--no-app", action="store_true", help="platform only: no API, no worker")
    up.add_argument("--home", type=Path, help="state directory (default: DARKROOM_HOME or .darkroom)")
    start = commands.add_parser("run", help="the whole stack with a demonstration", prog="scripts/run")
    start.add_argument("--once", action="store_true", help="stop after the demonstration")
    start.add_argument("photo", nargs="?", type=Path, help="your picture (default: a sample)")
    start.add_argument(
        "op_key", nargs="?", default=SAMPLE_OP, metavar="OP_KEY", help="e.g. resize-v1:width-800"
    )
    start.add_argument("--out", type=Path, help="where to write output.*, thumb.webp and result.json")
    commands.add_parser("check", help="every check; further arguments go to pytest", add_help=False)
    migration = commands.add_parser("migration", help="write the migration of changed functions and policies")
    migration.add_argument("name", metavar="NAME", help="what it changes: lower case, digits, underscores")
    migration.add_argument(
        "--table", action="store_true", help="write the beginning of one of tables, which is written by hand"
    )
    commands.add_parser("types", help="write supabase/types.ts from the migrations")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

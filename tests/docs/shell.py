"""Shell blocks, command by command, in a directory that looks like a checkout.

The fields of a JSON answer become variables of the commands after it, as a reader would copy them. Programs that need an
account or an engine (fly, npx supabase, npm install, git clone) are played by tests/docs/programs.py, which checks what
they are asked against what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.local.home import REPOSITORY
from tests.docs import programs
from tests.docs.blocks import Block, fill
from tests.docs.scene import Scene, write_files

NOT_RUN = {
    (
        "benchmarks.md",
        "Benchmarks",
    ): "benchmarks take minutes; their arguments are parsed, and tests/bench runs them",
    (
        "api.md",
        "Paying",
    ): "nothing is sold here; the API must refuse it as billing_disabled, tests/payments buys",
}
_PLAYED = ("git", "npm", "npx", "fly", "darkroom")
_SERVES = "./scripts/run"
_BASH = shutil.which("bash") or "/bin/bash"


@dataclass(frozen=True)
class Sandbox:
    """`bin` holds the played programs; each block gets a checkout of its own below `root`."""

    root: Path
    bin: Path
    environment: dict[str, str]


@contextlib.contextmanager
def sandbox(root: Path, scene: Scene) -> Iterator[Sandbox]:
    """`darkroom` has the settings of the shared stack; `./scripts/run` has a home of its own, shared by the blocks."""
    folder = root / "bin"
    folder.mkdir()
    for name in _PLAYED:
        script = folder / name
        script.write_text(
            f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -P -m tests.docs.programs {name} "$@"\n'
        )
        script.chmod(0o755)
    (root / "curl").mkdir()
    (root / "curl" / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    stack = {key: value for key, value in programs.stack_settings(scene.local).items()}
    yield Sandbox(
        root,
        folder,
        {
            **stack,
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "CURL_HOME": str(root / "curl"),
            "HOME": str(root),
            "DARKROOM_HOME": str(root / "home"),
            "DARKROOM_API_PORT": "0",
            "DARKROOM_SUPABASE_PORT": "0",
            "DARKROOM_QUEUE": "default",
            "PYTHON": sys.executable,
            "COLUMNS": "200",
        },
    )


async def run(block: Block, scene: Scene, place: Sandbox) -> None:
    text = fill(block, scene.values)
    if (block.document.name, block.heading) == ("benchmarks.md", "Benchmarks"):
        for number, command in commands(block, text):
            if complaint := programs.parse_darkroom(shlex.split(command, comments=True)[1:]):
                block.fail(complaint, number)
        return
    checkout = _checkout(place.root / block.name, scene)
    script = checkout / ".commands.sh"
    script.write_text(_script(list(commands(block, text)), checkout), "utf-8")
    environment = {**os.environ, **place.environment, **scene.environment, "CALLS": str(checkout / ".calls")}
    process = await asyncio.create_subprocess_exec(
        *(_BASH, script),
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(150):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    printed = out.decode(errors="replace")
    line = int((checkout / ".line").read_text() or block.line)
    if process.returncode != 0 and not _expected(block, printed):
        block.fail(f"status {process.returncode}\n{printed[-3000:]}", line)
    calls = (checkout / ".calls").read_text().splitlines() if (checkout / ".calls").exists() else []
    if failed := [call for call in calls if not call.startswith("0 ")]:
        block.fail("\n".join([*failed, printed[-3000:]]), line)


def _expected(block: Block, printed: str) -> bool:
    """What is not sold here is refused, and nothing else was wrong with the request."""
    return (block.document.name, block.heading) == ("api.md", "Paying") and '"billing_disabled"' in printed


def commands(block: Block, text: str) -> Iterator[tuple[int, str]]:
    """Whole commands with the line of the document at which each begins."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), block.line + 1):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending, start = (pending + "\n" + line, start) if pending else (line, number)
        if (
            not line.endswith("\\")
            and subprocess.run(
                [_BASH, "-n"], input=pending, text=True, capture_output=True, check=False
            ).returncode
            == 0
        ):
            yield start, pending
            pending = ""
    if pending:
        block.fail("this command is not complete", start)


def _script(parts: list[tuple[int, str]], checkout: Path) -> str:
    """One shell for all commands, so that `cd`, `export` and variables last; each says where it stands."""
    capture = f"{sys.executable} -P -m tests.docs.programs capture"
    lines = ["set -eu"]
    for number, command in parts:
        lines.append(f"echo {number} > {checkout}/.line")
        if command.strip() == _SERVES:
            lines += _until_it_serves(f"{checkout}/.out")
            continue
        lines += [
            f"{{ {command}\n}} > {checkout}/.out || {{ status=$?; cat {checkout}/.out; exit $status; }}",
            f'cat {checkout}/.out; eval "$(PYTHONPATH={REPOSITORY} {capture} {checkout}/.out)"',
        ]
    return "\n".join([*lines, "wait", ""])


def _until_it_serves(out: str) -> list[str]:
    """Lines that start what serves until Ctrl-C, wait until it says so, and stop it."""
    return [
        f"{_SERVES} > {out} 2>&1 & serving=$!",
        f"until grep -q 'Ctrl-C stops everything' {out}; do kill -0 $serving || {{ cat {out}; exit 1; }}; sleep 0.1; done",
        "kill -TERM $serving; wait $serving",
    ]


def _checkout(path: Path, scene: Scene) -> Path:
    """A directory with the repository's entries as links, and the files that examples name."""
    path.mkdir()
    for entry in REPOSITORY.iterdir():
        if entry.name not in {".darkroom", ".env"}:
            (path / entry.name).symlink_to(entry)
    write_files(scene, path)
    (path / ".line").write_text("")
    return path

"""Shell blocks, command by command, in a directory that looks like a checkout.

The fields of a JSON answer become variables of the commands after it, as a reader would copy them. Programs that
need an account or an engine (fly, npx supabase, npm install, git clone) write down what they are asked, and
programs.py checks it against what is there. `darkroom` is the real command; of `darkroom api` and `darkroom worker`
it is waited until they work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.local.apps import environment
from scripts.local.home import REPOSITORY, Home
from scripts.local.process import unmeasured
from tests.docs import programs
from tests.docs.blocks import Block, fill
from tests.docs.scene import Scene, write_files

BENCHMARKS, PAYING = ("benchmarks.md", "Benchmarks"), ("api.md", "Paying")
NOT_RUN = {
    BENCHMARKS: "benchmarks take minutes; here their arguments are parsed, and tests/bench runs them",
    PAYING: "nothing is sold here: the API must refuse it as billing_disabled; tests/payments buys",
}
_BIN = Path(__file__).parent / "bin"
_PLAYED = ("git", "npm", "npx", "fly")
_SERVES = "./scripts/run"
_BASH = shutil.which("bash") or "/bin/bash"


@dataclass(frozen=True)
class Sandbox:
    """Each block gets a checkout of its own below `root`."""

    root: Path
    environment: dict[str, str]


def open_sandbox(root: Path, scene: Scene) -> Sandbox:
    """`darkroom` has the settings of the shared stack; `./scripts/run` has a home of its own, shared by the blocks."""
    programs_folder = root / "bin"
    programs_folder.mkdir()
    (programs_folder / "darkroom").symlink_to(_BIN / "darkroom")
    for name in _PLAYED:
        (programs_folder / name).symlink_to(_BIN / "played")
    (root / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    variables = {
        **environment(scene.local),
        **scene.environment,
        **unmeasured(),  # the same commands are measured elsewhere
        "PATH": f"{programs_folder}{os.pathsep}{os.environ['PATH']}",
        "CURL_HOME": str(root),
        "HOME": str(root),
        "DARKROOM_HOME": str(root / "home"),
        "DARKROOM_API_PORT": "0",
        "DARKROOM_SUPABASE_PORT": "0",
        "CHECKOUT": str(REPOSITORY),
        "PYTHON": sys.executable,
        "COLUMNS": "200",
    }
    return Sandbox(root, variables)


async def run(block: Block, scene: Scene, sandbox: Sandbox) -> None:
    text = fill(block, scene.values)
    parts = list(_commands(block, text))
    place = (block.document.name, block.heading)
    if place == BENCHMARKS:
        for number, command in parts:
            if complaint := programs.check_call("darkroom", shlex.split(command, comments=True)[1:]):
                block.fail(complaint, number)
        return
    checkout = _checkout(sandbox.root / block.name, scene, text)
    state = sandbox.root / f"{block.name}.state"
    state.mkdir()
    (state / "script").write_text(_script(parts, state), "utf-8")
    files = {"CALLS": str(state / "calls"), "FAILURES": str(state / "failures")}
    process = await asyncio.create_subprocess_exec(
        *(_BASH, state / "script"),
        cwd=checkout,
        env={**os.environ, **sandbox.environment, **files},
        stdin=subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(150):
            out, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it may have left running
            os.killpg(process.pid, signal.SIGKILL)
    _judge(block, place, state, process.returncode or 0, out.decode(errors="replace"))


def _judge(block: Block, place: tuple[str, str], state: Path, status: int, printed: str) -> None:
    """Fail the block for a command that failed, and for a call that would."""
    line = int((state / "line").read_text())
    if (state / "failures").exists():
        block.fail((state / "failures").read_text(), line)
    refused_as_told = place == PAYING and '"billing_disabled"' in printed
    if status != 0 and not refused_as_told:
        block.fail(f"status {status}\n{printed[-3000:]}", line)
    calls = (state / "calls").read_text().splitlines() if (state / "calls").exists() else []
    for name, *arguments in map(json.loads, calls):
        if complaint := programs.check_call(name, arguments):
            block.fail(complaint)


def _commands(block: Block, text: str) -> Iterator[tuple[int, str]]:
    """Whole commands with the line of the document at which each begins."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), block.line + 1):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending, start = (f"{pending}\n{line}", start) if pending else (line, number)
        if not line.endswith("\\") and _is_complete(pending):
            yield start, pending
            pending = ""
    if pending:
        block.fail("this command is not complete", start)


def _is_complete(command: str) -> bool:
    parsed = subprocess.run([_BASH, "-n"], input=command, text=True, capture_output=True, check=False)
    return parsed.returncode == 0 and "here-document" not in parsed.stderr


def _script(parts: list[tuple[int, str]], state: Path) -> str:
    """One shell for all commands, so that `cd`, `export` and variables last; each says where it stands."""
    out = state / "out"
    lines = ["set -eu"]
    for number, command in parts:
        lines.append(f"echo {number} > {state}/line")
        if command.strip() == _SERVES:
            lines += [
                f"{_SERVES} > {out} 2>&1 & serving=$!",
                f"until grep -q 'Ctrl-C stops everything' {out}; do",
                f"  kill -0 $serving || {{ cat {out}; exit 1; }}; sleep 0.1",
                "done",
                "kill -TERM $serving; wait $serving",
            ]
            continue
        lines += [
            f"{{ {command}\n}} > {out} || {{ status=$?; cat {out}; exit $status; }}",
            f'cat {out}; eval "$({sys.executable} {_BIN}/capture {out})"',
        ]
    return "\n".join([*lines, "wait", ""])


def _checkout(path: Path, scene: Scene, text: str) -> Path:
    """A directory with the repository's entries as links, and the files that the example `text` names."""
    path.mkdir()
    for entry in REPOSITORY.iterdir():
        if entry.name not in {".darkroom", ".env"}:
            (path / entry.name).symlink_to(entry)
    write_files(scene, path, text)
    home = Home(path / ".darkroom")  # of the shared stack
    home.command.parent.mkdir(parents=True)
    home.write_local(scene.local)
    home.write_command()
    return path

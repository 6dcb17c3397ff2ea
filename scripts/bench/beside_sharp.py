"""Our resize beside sharp's, in one run: the same files, the same sizes, WebP of the same quality and effort, each in a
process of its own that tells the processor time of all its threads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.bench.measure import Sample
from workers.imaging.children import environment

_EFFORT: Final = 2
"""Of libwebp, as `workers/imaging/encode.py` asks for."""

Shrink = Callable[[Path, int], float]
"""(source, side) -> seconds of processor time."""


@contextmanager
def ours(output: Path) -> Iterator[Shrink]:
    """`scripts/bench/shrink.py`, with the environment that pixel children have."""
    with _asked([sys.executable, "-m", "scripts.bench.shrink"], output, environment()) as shrink:
        yield shrink


@contextmanager
def sharp(output: Path) -> Iterator[Shrink]:
    """`scripts/bench/sharp.mjs`."""
    node = Path(sys.executable).with_name("node")
    program = str(node) if node.is_file() else shutil.which("node") or "node"
    with _asked([program, str(Path(__file__).with_name("sharp.mjs"))], output, None) as shrink:
        yield shrink


@contextmanager
def _asked(command: Sequence[str], output: Path, env: Mapping[str, str] | None) -> Iterator[Shrink]:
    """A program that reads tasks and answers them, a line each."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        asked, answers = process.stdin, process.stdout

        def shrink(source: Path, side: int) -> float:
            thumb = output.with_suffix(".thumb.webp")
            task = {"source": source, "side": side, "effort": _EFFORT, "output": output, "thumb": thumb}
            print(json.dumps(task, default=str), file=asked, flush=True)
            seconds: float = json.loads(answers.readline())["seconds"]
            return seconds

        yield shrink
        asked.close()


def take_turns(ways: Sequence[Shrink], source: Path, side: int, rounds: int) -> list[Sample]:
    """Every way once a round after one run to warm up, every other round the other way about."""
    taken: list[list[float]] = [[] for _ in ways]
    for number in range(-1, rounds):
        for index in range(len(ways))[:: -1 if number % 2 else 1]:
            taken[index].append(ways[index](source, side))
    return [Sample(tuple(seconds[1:])) for seconds in taken]

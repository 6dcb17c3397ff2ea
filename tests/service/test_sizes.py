"""Files stay below 400 lines and functions below 40: what grows beyond that is missing a room of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from scripts.local.home import REPOSITORY

MOST_IN_A_FILE = 400
MOST_IN_A_FUNCTION = 40
MOST_EXCEPTIONS = 5
EXCEPTIONS = {
    "service/platform/settings.py": "one table: every setting with its description, and what they demand of each other",
    "service/platform/telemetry.py:configure": "a list of processors and handlers, each given once",
    "workers/ops/pipeline.py:process": "the steps that every picture takes, in their order",
    "workers/imaging/svg/raster.py:rasterise": "one call of the renderer, with all its fonts and all its failures",
}
"""By path, or path and function: why it is longer."""


def sources() -> Iterator[Path]:
    for root in ("service", "workers", "cli"):
        yield from sorted((REPOSITORY / root).rglob("*.py"))


def too_long(path: Path) -> Iterator[str]:
    """The names of what is too long in a source: its own, and `path:function`."""
    name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8")
    if len(text.splitlines()) > MOST_IN_A_FILE:
        yield name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_IN_A_FUNCTION:
                yield f"{name}:{node.name}"


def test_what_is_long_has_a_reason() -> None:
    assert {name for path in sources() for name in too_long(path)} == set(EXCEPTIONS)


def test_exceptions_stay_few() -> None:
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS
    assert all(len(reason.split()) > 3 for reason in EXCEPTIONS.values())

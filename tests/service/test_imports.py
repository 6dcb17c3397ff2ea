"""Arrows point one way: what docs/architecture.md says of imports, read from the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scripts.local.home import REPOSITORY

OURS = {"cli", "service", "workers", "scripts", "tests"}
MAY: dict[str, tuple[str, ...]] = {
    "service/platform/media.py": (),
    "service/ops/outputs.py": (),
    "service/ops": ("service.ops",),
    "workers/imaging": (
        "workers.imaging",
        "service.ops.inputs",
        "workers.models",
        "workers.sandbox",
        "service.platform.media",
        "service.ops.outputs",
        "service.ops.weights",
    ),
    "workers/models": ("workers.models", "workers.imaging.errors", "service.ops.weights"),
    "workers/sandbox": ("workers.sandbox", "service.platform.protections"),
    "cli": ("cli", "workers", "service", "scripts.bench"),
    "workers": ("workers", "service"),
    "service": ("service",),
}
"""Of ours, what the modules of a folder may import; the first that fits counts."""


def imports(source: str) -> set[str]:
    """The modules of ours that a source names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


def modules() -> list[Path]:
    roots = (REPOSITORY / name for name in ("cli", "service", "workers"))
    return [file.relative_to(REPOSITORY) for root in roots for file in sorted(root.rglob("*.py"))]


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_imports_what_its_room_may(path: Path) -> None:
    room = next(room for room in MAY if path.is_relative_to(room))
    allowed = MAY[room]
    foreign = {
        name
        for name in imports((REPOSITORY / path).read_text("utf-8"))
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
    }
    assert foreign == set()


@pytest.mark.parametrize("path", modules(), ids=str)
def test_only_database_talks_to_postgrest(path: Path) -> None:
    """It alone knows that parameters of SQL functions begin with `p_`."""
    source = (REPOSITORY / path).read_text("utf-8")
    if path.as_posix() != "service/platform/database.py":
        assert not re.search(r"""["']p_|import postgrest|from postgrest|/rest/v1""", source)

"""Arrows point one way: what docs/architecture.md says of imports, read from the sources."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
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
        "workers.pixel_errors",
        "service.platform.media",
        "service.ops.outputs",
        "service.ops.weights",
    ),
    "workers/models": ("workers.models", "workers.pixel_errors", "service.ops.weights"),
    "workers/sandbox": ("workers.sandbox", "service.platform.protections"),
    "cli": ("cli", "workers", "service", "scripts.bench"),
    "workers": ("workers", "service"),
    "service/platform": ("service.platform", "service.ops"),
    "service": ("service",),
}
"""Of ours, what the modules of a folder may import; the first that fits counts."""
EDGES: dict[str, set[str]] = {
    "access": set(),
    "credits": {"access"},
    "usage": {"access"},
    "plans": {"access", "cache", "usage"},
    "privacy": {"access", "cache", "maintenance"},
    "input_documents": {"access"},
    "maintenance": {"cache"},
    "cache": {"usage"},
    "moderation": {"cache"},
    "payments": {"access", "plans"},
    "teams": {"access", "cache", "plans"},
    "jobs": {"access", "cache", "usage"},
    "library": {"access", "cache", "credits", "jobs", "moderation", "plans", "teams", "usage"},
    "collections": {"access", "library", "teams"},
    "sharing": {"access", "cache", "library", "moderation", "teams", "usage"},
    "intake": {
        *("access", "cache", "credits", "input_documents", "jobs", "library"),
        *("moderation", "plans", "teams", "usage"),
    },
    "catalogue": {"moderation", "plans"},
    "health": {"access", "maintenance", "moderation"},
    "admin": {
        *("access", "cache", "credits", "health", "jobs", "library"),
        *("maintenance", "moderation", "plans"),
    },
}
"""What each context of the service knows of others, beside platform and ops. A new edge is a decision."""
WIRING = {"app", "error_codes"}
"""Modules of service/ that put the contexts together."""


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


@pytest.fixture(scope="module")
def sources() -> dict[Path, str]:
    """The text of each module, by its path in the repository."""
    roots = (REPOSITORY / name for name in ("cli", "service", "workers"))
    files = (file for root in roots for file in sorted(root.rglob("*.py")))
    return {file.relative_to(REPOSITORY): file.read_text("utf-8") for file in files}


@pytest.fixture(scope="module")
def imported(sources: dict[Path, str]) -> dict[Path, set[str]]:
    """What each module imports of ours."""
    return {path: imports(source) for path, source in sources.items()}


def test_only_stores_call_sql_functions(sources: dict[Path, str]) -> None:
    callers = {
        path for path, source in sources.items() if re.search(r"database\.(one|maybe|many|run)\(", source)
    }
    assert len(callers) > 10
    assert {path for path in callers if not path.name.endswith("store.py")} == set()


def test_each_module_imports_what_its_room_may(imported: dict[Path, set[str]]) -> None:
    foreign = {}
    for path, names in imported.items():
        allowed = MAY[next(room for room in MAY if path.is_relative_to(room))]
        foreign[path] = {
            name
            for name in names
            if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
        }
    assert len(foreign) > 100
    assert {path: names for path, names in foreign.items() if names} == {}


def test_only_database_talks_to_postgrest(sources: dict[Path, str]) -> None:
    """It alone knows that parameters of SQL functions begin with `p_`."""
    speaks = re.compile(r"""["']p_|import postgrest|from postgrest|/rest/v1""")
    assert [path.as_posix() for path, source in sources.items() if speaks.search(source)] == [
        "service/platform/database.py"
    ]


def context(module: str) -> str:
    """`service.intake.store` and names in it: intake."""
    return module.split(".")[1]


def edges(imported: dict[Path, set[str]]) -> dict[str, set[str]]:
    """By context: the others that its modules import."""
    found: dict[str, set[str]] = {}
    for path, names in imported.items():
        if path.parts[0] != "service" or len(path.parts) == 2:
            continue
        named = {context(name) for name in names if name != "service.__version__"}
        found.setdefault(path.parts[1], set()).update(named - {path.parts[1], "platform", "ops"})
    return found


def test_contexts_know_of_each_other_what_the_table_says(imported: dict[Path, set[str]]) -> None:
    found = edges(imported)
    assert {name: found[name] for name in EDGES} == EDGES
    assert set(found) == {*EDGES, "platform", "ops"}
    assert not any(found[name] & WIRING for name in found)


def test_no_context_knows_itself_through_others() -> None:
    """The table can be put in an order in which each context knows earlier ones only."""
    assert set(TopologicalSorter(EDGES).static_order()) == set(EDGES)

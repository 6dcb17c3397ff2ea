"""Every fenced block of the documentation does what it says, on the embedded stack.

A block fails with its place (`docs/api.md:21`). What kinds there are stands in `KINDS`; a block of another kind, or
of none, is an error. `NOT_RUN` is the whole list of what is checked but not carried out, each with its reason.
"""

from __future__ import annotations

import os
import re
import shutil

import asyncpg
import pytest

from scripts.local.home import REPOSITORY
from tests.docs import modules, shell, words
from tests.docs.blocks import BLOCKS, Block, fill
from tests.docs.modules import Project
from tests.docs.scene import Scene

pytestmark = pytest.mark.timeout(600)

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
)
KINDS = modules.KINDS | {"html", "sh", "sql", "json", "mermaid", "tree", "regex", "grammar", "csp"}
NOT_RUN = shell.NOT_RUN


def _of(*kinds: str) -> list[object]:
    """Parameters of a test: the blocks of some kinds, each by its place."""
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.kind in kinds]


def _scripts(*, browser: bool) -> list[object]:
    return [
        pytest.param(block, id=block.place)
        for block in BLOCKS
        if block.kind in modules.KINDS | {"html"} and modules.needs_browser(block) == browser
    ]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in BLOCKS])
def test_the_kind_is_known(block: Block) -> None:
    if block.kind not in KINDS:
        block.fail(f"nothing runs blocks of the kind {block.kind!r}; known are {', '.join(sorted(KINDS))}")


def test_what_is_not_run_exists() -> None:
    places = {(block.document.name, block.heading) for block in BLOCKS}
    assert set(NOT_RUN) <= places


@pytest.mark.node
@pytest.mark.parametrize("block", _of(*modules.KINDS))
async def test_types(block: Block, project: Project) -> None:
    modules.check_types(block, project)


@pytest.mark.node
@pytest.mark.parametrize("block", _scripts(browser=False))
async def test_script(block: Block, project: Project, scene: Scene) -> None:
    await modules.run(block, project, scene)


@pytest.mark.browser
@pytest.mark.parametrize("block", _scripts(browser=True))
async def test_page(block: Block, project: Project, scene: Scene) -> None:
    await modules.run_in_browser(block, project, scene, CHROMIUM, fill(block, scene.values))


@pytest.mark.parametrize("block", _of("sh"))
async def test_commands(block: Block, scene: Scene, sandbox: shell.Sandbox) -> None:
    await shell.run(block, scene, sandbox)


@pytest.mark.parametrize("block", _of("sql"))
async def test_sql(block: Block, scene: Scene, db: asyncpg.Connection[asyncpg.Record]) -> None:
    await words.run_sql(block, fill(block, scene.values), db)


@pytest.mark.parametrize("block", _of("json"))
async def test_json(block: Block, scene: Scene) -> None:
    await words.check_json(block, scene)


@pytest.mark.parametrize("block", _of("mermaid"))
def test_mermaid(block: Block) -> None:
    words.check_mermaid(block)


@pytest.mark.parametrize("block", _of("tree"))
def test_tree(block: Block) -> None:
    words.check_tree(block)


def test_the_tree_of_the_house_leaves_nothing_out() -> None:
    """Each context, and each module of the platform and of workers/, is named in it."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"[\w/]+", page.partition("```tree")[2].partition("```")[0]))
    service, workers = REPOSITORY / "service", REPOSITORY / "workers"
    folders = [
        path for root in (service, workers) for path in root.iterdir() if (path / "__init__.py").exists()
    ]
    modules = [*(service / "platform").glob("*.py"), *workers.glob("*.py")]
    expected = {f"{path.name}/" for path in folders} | {path.stem for path in modules}
    assert expected - named - {"__init__"} == set()


@pytest.mark.parametrize("block", _of("regex"))
def test_regex(block: Block) -> None:
    words.check_key_pattern(block)


@pytest.mark.parametrize("block", _of("grammar"))
def test_grammar(block: Block) -> None:
    words.check_grammar(block)


@pytest.mark.parametrize("block", _of("csp"))
async def test_csp(block: Block, scene: Scene) -> None:
    await words.check_policy(block, scene)

"""The runner of the documentation's blocks finds what is wrong with them, and says where."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from scripts.local.home import REPOSITORY
from tests.docs import modules, shell, words
from tests.docs.blocks import Block, blocks_in, fill
from tests.docs.scene import Scene
from tests.docs.test_blocks import test_the_kind_is_known as kind_is_known

Failed = pytest.fail.Exception
DOCUMENT = REPOSITORY / "docs" / "example.md"


def _block(info: str, text: str, heading: str = "Example", line: int = 7) -> Block:
    return Block(DOCUMENT, line, info, text, heading)


def test_blocks_have_their_line_and_heading(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# Page\n\n```sh\ntrue\n```\n\n## Part\n\n````json Problem\n```\n````\n")
    assert [(b.line, b.info, b.text, b.heading) for b in blocks_in(document)] == [
        (3, "sh", "true\n", "Page"),
        (9, "json Problem", "```\n", "Part"),
    ]
    document.write_text("```sh\ntrue\n")
    with pytest.raises(ValueError, match="never closed"):
        list(blocks_in(document))


@pytest.mark.parametrize("info", ["", "yaml", "shell"])
def test_a_block_of_an_unknown_kind_fails(info: str) -> None:
    with pytest.raises(Failed, match=r"docs/example.md:7 .*nothing runs blocks of the kind"):
        kind_is_known(_block(info, "a: 1\n"))


def test_a_placeholder_that_nobody_knows_fails_with_its_line() -> None:
    with pytest.raises(Failed, match=r"docs/example.md:9 .*<bucket>"):
        fill(_block("sh", "true\necho <bucket>\n"), {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("true\nfalse\n", "docs/example.md:9 .*status 1"),
        ("curl -s $API/nowhere\n", "not_found"),
        ("curl -s $API/images -H 'Authorization: Bearer no'\n", "invalid_token"),
        ("darkroom admin plam ada@example.com pro\n", "No such command"),
        ("darkroom api --prot 1\n", "No such option"),
        ("fly secrets set SUPABASE_UR=x\n", "no setting is called SUPABASE_UR"),
        ("fly secrets set REDIS_URL=x\n", "DARKROOM_SECRET"),
        ("fly scale count wroker=2\n", "no process group"),
        ("npx supabase db pusch\n", "has no `db pusch`"),
        ("npx supabase db push --dry-rum\n", "has no --dry-rum"),
        ("npm install hash-wasn\n", "hash-wasn"),
        ("if true; then\n", "not complete"),
    ],
)
async def test_a_command_that_fails_fails_its_block(
    text: str, complaint: str, scene: Scene, sandbox: shell.Sandbox
) -> None:
    block = _block("sh", text, line=7)
    own = shell.Sandbox(sandbox.root / str(abs(hash(text))), sandbox.environment)
    own.root.mkdir()
    with pytest.raises(Failed, match=f"(?s){complaint}"):
        await shell.run(block, scene, own)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select id\nfrom imagess;\n", "docs/example.md:9 .*imagess"),
        ("update plans set colour = 'red';\n", "colour"),
    ],
)
async def test_sql_that_is_wrong_fails_with_its_line(
    text: str, complaint: str, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    with pytest.raises(Failed, match=complaint):
        await words.run_sql(_block("sql", text), text, db)


@pytest.mark.parametrize(
    ("info", "text", "complaint"),
    [
        ("json", "{}", "say which answer this is"),
        ("json CreditBalance", "{", "Expecting"),
        ("json CreditBalance", '{"balance": 1}', "`held` is missing"),
        ("json CreditBalance", '{"balance": "1", "…": "…"}', "is no integer"),
        ("json CreditBalance", '{"balanse": 1, "…": "…"}', "no field `balanse`"),
    ],
)
async def test_json_that_no_answer_has_fails(info: str, text: str, complaint: str, scene: Scene) -> None:
    with pytest.raises(Failed, match=complaint):
        await words.check_json(_block(info, text), scene)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sequenceDiagram\n  participant A\n  A->>B: hello\n", "not a participant: B"),
        ("sequenceDiagram\n  participant A\n  alt hit\n  A->>A: x\n", "not closed"),
        ("flowchart LR\n  a --> b --> \n", "docs/example.md:9"),
        ("pie\n", "no diagram begins"),
    ],
)
def test_a_diagram_that_cannot_be_drawn_fails(text: str, complaint: str) -> None:
    with pytest.raises(Failed, match=complaint):
        words.check_mermaid(_block("mermaid", text))


def test_a_tree_with_a_file_that_is_gone_fails() -> None:
    with pytest.raises(Failed, match=r"docs/example.md:9 .*service/nothing.py"):
        words.check_tree(_block("tree", "service/   the API\n  nothing.py   nothing\n"))


AMBIGUOUS = """\
const { data } = await supabase.from("image_outputs").select("id, images(filename)");
"""
UNTYPED = """\
const { data: images } = await supabase.from("images").select("id");
console.log(images.length);
"""
UNKNOWN = "unheardOf(file);\n"


@pytest.mark.node
async def test_scripts_that_are_wrong_fail(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first example of docs/frontend.md answered PGRST201, that of docs/teams.md was no strict TypeScript."""
    ambiguous, untyped, unknown = (
        _block("js", AMBIGUOUS, line=3),
        _block("ts", UNTYPED, line=13),
        _block("js", UNKNOWN, line=23),
    )
    project = await modules.prepare(
        tmp_path_factory.mktemp("wrong"), scene.values, (ambiguous, untyped, unknown)
    )
    with pytest.raises(Failed, match=r"(?s)docs/example.md:3 .*PGRST201"):
        await modules.run(ambiguous, project, scene)
    with pytest.raises(Failed, match=r"docs/example.md:15 .*possibly 'null'"):
        modules.check_types(untyped, project)
    with pytest.raises(Failed, match=r"`unheardOf`, which tests/docs/node/scene.ts does not offer"):
        modules.check_types(unknown, project)

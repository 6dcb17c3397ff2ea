"""Blocks that are no programs of their own: SQL, JSON, diagrams, trees of files, a pattern, a grammar, a policy."""

from __future__ import annotations

import json
import re
from typing import Any

import asyncpg
import httpx

from scripts.local.home import REPOSITORY
from service.access.key_format import make_key
from service.ops.registry import catalogue
from tests.docs.blocks import Block
from tests.docs.scene import Scene

ELIDED = "…"


async def run_sql(block: Block, text: str, db: asyncpg.Connection[asyncpg.Record]) -> None:
    """All statements in one transaction, which is rolled back."""
    transaction = db.transaction()
    await transaction.start()
    try:
        await db.execute(text)
    except asyncpg.PostgresError as error:
        position = int(error.position or 1)
        block.fail(str(error), block.line + 1 + text[:position].count("\n"))
    finally:
        await transaction.rollback()


async def check_json(block: Block, scene: Scene) -> None:
    """An answer of the API: the words behind `json` name its schema in the OpenAPI document."""
    schema_name = block.info.partition(" ")[2]
    async with httpx.AsyncClient(base_url=scene.api_url, trust_env=False) as client:
        schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    if schema_name not in schemas:
        block.fail(
            f"say which answer this is: ```json NAME, NAME being a schema of /openapi.json, not {schema_name!r}"
        )
    try:
        document = json.loads(block.text)
    except ValueError as error:
        block.fail(str(error))
    if faults := _faults(document, {"$ref": f"#/components/schemas/{schema_name}"}, schemas, schema_name):
        block.fail("\n".join(faults))


_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def _faults(value: Any, schema: dict[str, Any], schemas: dict[str, Any], place: str) -> list[str]:
    """Where the value is not what the schema says. `"…"` stands for what the example leaves out."""
    if "$ref" in schema:
        return _faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, place)
    if isinstance(value, str) and ELIDED in value:
        return []
    if choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        found = [_faults(value, each, schemas, place) for each in choices]
        return [] if [] in found else min(found, key=len)
    wanted = schema.get("type")
    if wanted in _KINDS and not isinstance(value, _KINDS[wanted]):
        return [f"{place}: {value!r} is no {wanted}"]
    faults = []
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{place}: {value!r} is none of {schema['enum']}")
    if isinstance(value, dict):
        faults += _object_faults(value, schema, schemas, place)
    if isinstance(value, list):
        for index, each in enumerate(value):
            faults += _faults(each, schema.get("items", {}), schemas, f"{place}[{index}]")
    return faults


def _object_faults(
    value: dict[str, Any], schema: dict[str, Any], schemas: dict[str, Any], place: str
) -> list[str]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", "properties" not in schema)
    faults = []
    for name, each in value.items():
        if name in known:
            faults += _faults(each, known[name], schemas, f"{place}.{name}")
        elif isinstance(more, dict):
            faults += _faults(each, more, schemas, f"{place}.{name}")
        elif not more and name != ELIDED:
            faults.append(f"{place}: there is no field `{name}`")
    if ELIDED not in value:
        faults += [
            f"{place}: `{name}` is missing" for name in schema.get("required", []) if name not in value
        ]
    return faults


_DIAGRAMS = {
    "flowchart": (
        r"[\w-]+(\[.*\]|\(.*\)|\{.*\})?$",
        r'[\w-]+ (--|-\.) ".*" (-->|\.->) [\w-]+$|[\w-]+ -\.?->(\|.*\|)? [\w-]+$',
        r"subgraph [\w-]+(\[.*\])?$|end$",
    ),
    "sequenceDiagram": (
        r"(participant|actor) \w+( as .+)?$",
        r"\w+--?>>\w+: .+$",
        r"note (over|left of|right of) \w+(,\w+)?: .+$",
        r"(alt|opt|loop|par) .+$|else( .+)?$|end$",
    ),
    "stateDiagram-v2": (
        r"direction (LR|TB|RL|BT)$",
        r'state ".+" as \w+$|state \w+ \{$|\}$',
        r"(\[\*\]|\w+) --> (\[\*\]|\w+)(: .+)?$",
    ),
}
"""What lines a diagram may have, by its first word. No parser of Mermaid comes without a browser's DOM."""


def check_mermaid(block: Block) -> None:
    """Known lines, everything opened closed, and messages only between participants."""
    first, *lines = block.text.strip().splitlines()
    patterns = _DIAGRAMS.get(first.split()[0])
    if patterns is None:
        block.fail(f"no diagram begins with {first!r}", block.line + 1)
        return
    depth, known, used = 0, set[str](), set[str]()
    for number, line in enumerate(map(str.strip, lines), block.line + 2):
        if not any(re.match(pattern, line) for pattern in patterns):
            block.fail(f"not a line of a {first}: {line!r}", number)
        depth += bool(re.match(r"(alt|opt|loop|par|subgraph)\b", line)) - (line == "end")
        if match := re.match(r"(?:participant|actor) (\w+)", line):
            known.add(match[1])
        if first == "sequenceDiagram" and (match := re.match(r"(\w+)--?>>(\w+):", line)):
            used |= {match[1], match[2]}
    if depth:
        block.fail("a group is not closed by `end`")
    if first == "sequenceDiagram" and used - known:
        block.fail(f"not a participant: {', '.join(sorted(used - known))}")


def check_tree(block: Block) -> None:
    """Every path is there: names before two spaces, indented under the folder that they lie in."""
    folders: list[tuple[int, str]] = [(-1, "")]
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        indent = len(line) - len(line.lstrip())
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if indent >= 12:
            continue  # the text of the line above goes on
        while folders[-1][0] >= indent:
            folders.pop()
        for name in names:
            path = REPOSITORY / folders[-1][1] / name
            if not (path.is_dir() if name.endswith("/") else path.is_file()):
                block.fail(f"there is no {path.relative_to(REPOSITORY)}", number)
        folders.append((indent, f"{folders[-1][1]}{names[0]}"))


def check_key_pattern(block: Block) -> None:
    """What a scanner looks for finds API keys."""
    for live in (True, False):
        key = make_key(live=live).key
        if not re.fullmatch(block.text.strip(), key):
            block.fail(f"{key[:10]}… is not found by it")


def check_grammar(block: Block) -> None:
    """Rules `name = expression`, by which every example of every op must be a sentence of the first one."""
    rules: dict[str, str] = {}
    for line in block.text.splitlines():
        for rule in re.split(r"\s{4,}(?=[\w, ]+ = )", re.sub(r"\s{8,}at most .*", "", line.strip())):
            names, _, expression = rule.partition(" = ")
            rules |= {name.strip(): expression for name in names.split(",")}
    first = next(iter(rules))

    def pattern(expression: str) -> str:
        tokens = re.findall(r'"[^"]*"|\[[^\]]*\]|[a-z]+|[()+*]', expression)
        parts = []
        for token in tokens:
            if token.startswith('"'):
                parts.append(re.escape(token.strip('"')))
            elif token in rules:
                parts.append(f"(?:{pattern(rules[token])})")
            else:
                parts.append(token)
        return "".join(parts)

    whole = re.compile(pattern(rules[first]))
    for op in catalogue():
        for example in op.examples:
            if not whole.fullmatch(example):
                block.fail(f"{example} is not a sentence of this grammar")


async def check_policy(block: Block, scene: Scene) -> None:
    """Every directive and source is in the policy that the playground is served with, hosts aside."""
    async with httpx.AsyncClient(trust_env=False) as client:
        served = (await client.get(scene.api_url)).headers["content-security-policy"]
    allowed = {
        name: set(sources) for name, *sources in (part.split() for part in served.split(";") if part.strip())
    }
    for part in block.text.replace("\n", " ").split(";"):
        name, *sources = part.split() or [""]
        needed = {source for source in sources if not source.startswith("https://")}
        if name and not needed - {"blob:"} <= allowed.get(name, set()):
            block.fail(
                f"the playground does without {name} {' '.join(sorted(needed - allowed.get(name, set())))}"
            )

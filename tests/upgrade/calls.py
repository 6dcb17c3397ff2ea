"""The SQL functions that a checkout calls, with the names of their parameters, and whether a database has them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

FUNCTIONS = (
    "select p.proname as name, coalesce(p.proargnames, '{}') as names,"
    " coalesce(p.proargmodes::text[], '{}') as modes, p.pronargs as inputs, p.pronargdefaults as defaults"
    " from pg_proc p where p.pronamespace = 'public'::regnamespace"
    " and has_function_privilege('service_role', p.oid, 'execute')"
)


@dataclass(frozen=True)
class Call:
    """`whole`: the source shows all parameters; else there are more than `parameters`."""

    function: str
    parameters: frozenset[str]
    whole: bool
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.function}({', '.join(sorted(self.parameters))}{'' if self.whole else ', …'})"


def calls_of(tree: Path) -> list[Call]:
    """Every call of a SQL function in service/ of a checkout: `….run("name", key=…)`, `….one(Row, "name", key=…)`, and
    as releases before wrote it, `…call("name", {"p_key": …})`."""
    found = [
        call
        for file in sorted((tree / "service").rglob("*.py"))
        for call in _calls(file, file.relative_to(tree).as_posix())
    ]
    assert len(found) > 80
    return found


NAME_AT = {"run": 0, "one": 1, "maybe": 1, "many": 1}
"""Which argument names the function, by the method of Database."""
DATABASES = {"self", "self._database", "self.database", "platform.database"}


def _calls(file: Path, name: str) -> Iterator[Call]:
    module = ast.parse(file.read_text("utf-8"))
    helpers = {node.name: node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(module):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        at = NAME_AT.get(node.func.attr)
        if at is not None and len(node.args) == at + 1 and ast.unparse(node.func.value) in DATABASES:
            function, prefix = node.args[at], "p_"
            names, whole = _keywords(node.keywords, helpers)
        elif node.func.attr in {"call", "_call"} and len(node.args) == 2:
            function, prefix = node.args[0], ""
            names, whole = _names(node.args[1], helpers)
        else:
            continue
        if isinstance(function, ast.Constant) and isinstance(function.value, str):
            parameters = frozenset(prefix + parameter for parameter in names)
            yield Call(function.value, parameters, whole, f"{name}:{node.lineno}")


def _keywords(keywords: Iterable[ast.keyword], helpers: dict[str, ast.FunctionDef]) -> tuple[set[str], bool]:
    names: set[str] = set()
    whole = True
    for keyword in keywords:
        inner, known = _names(keyword.value, helpers) if keyword.arg is None else ({keyword.arg}, True)
        names |= inner
        whole &= known
    return names, whole


def _names(node: ast.expr, helpers: dict[str, ast.FunctionDef]) -> tuple[set[str], bool]:
    """The literal keys of a dictionary; those of a helper of the same module that returns one are known as well."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in helpers:
        returned = [part.value for part in helpers[node.func.id].body if isinstance(part, ast.Return)]
        return (
            _names(returned[0], helpers) if len(returned) == 1 and returned[0] is not None else (set(), False)
        )
    if not isinstance(node, ast.Dict):
        return set(), False
    names: set[str] = set()
    whole = True
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            inner, known = _names(value, helpers)
            names |= inner
            whole &= known
        elif isinstance(key, ast.Constant) and isinstance(key.value, str):
            names.add(key.value)
        else:
            whole = False
    return names, whole


@dataclass(frozen=True)
class Signature:
    """A SQL function. types: of its arguments, in order; required: how many of them have no default."""

    name: str
    types: tuple[str, ...]
    required: int

    def takes(self, other: Signature) -> bool:
        """Whether a call that was written for another one finds this one."""
        count = len(other.types)
        return (self.name, self.types[:count]) == (
            other.name,
            other.types,
        ) and self.required <= other.required

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.types)})"


async def signatures(connection: asyncpg.Connection[asyncpg.Record]) -> list[Signature]:
    """Of all functions in public and private."""
    rows = await connection.fetch(
        "select p.pronamespace::regnamespace || '.' || p.proname as name,"
        " p.pronargs - p.pronargdefaults as required, array("
        " select t.type::regtype::text from unnest(p.proargtypes) with ordinality t (type, n) order by t.n) as types"
        " from pg_proc p where p.pronamespace::regnamespace::text in ('public', 'private') order by 1, 3"
    )
    return [Signature(row["name"], tuple(row["types"]), row["required"]) for row in rows]


async def unresolved(connection: asyncpg.Connection[asyncpg.Record], calls: Iterable[Call]) -> list[str]:
    """Those calls that PostgREST would find no function for, or more than one."""
    functions: dict[str, list[tuple[set[str], set[str]]]] = {}
    for row in await connection.fetch(FUNCTIONS):
        modes = row["modes"] or ["i"] * len(row["names"])
        names = [name for name, mode in zip(row["names"], modes, strict=True) if mode in {"i", "b", "v"}]
        required = set(names[: row["inputs"] - row["defaults"]])
        functions.setdefault(row["name"], []).append((set(names), required))
    lost = []
    for call in calls:
        fitting = [
            names
            for names, required in functions.get(call.function, [])
            if call.parameters <= names and (not call.whole or required <= call.parameters)
        ]
        if len(fitting) != 1:
            lost.append(str(call))
    return lost

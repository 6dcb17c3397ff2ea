"""The lint of migrations: squawk's rules (.squawk.toml), and ours for what squawk does not look at.

Ours find what is done to a whole table under its lock, in the body of a `do` block and in what a block executes too.
Bodies of functions are left alone: a migration makes them and does not run them. One statement is let off by a comment
above it, with the reason: `-- lint-ignore rule-name: reason`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from scripts.local.home import REPOSITORY

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*|/\*.*?\*/)
      | '(?P<string>(?:[^']|'')*)'
      | \$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$
      | (?P<end>;|\Z)
      | (?P<word>"[^"]*"|[^\s;'"$/-]+|.)""",
    re.DOTALL | re.VERBOSE,
)
_IGNORED = re.compile(r"lint-ignore ([\w-]+): \S")
# Patterns see lower case, single spaces, and nothing in parentheses.
_BEGINNING = r"(?:^|\b(?:begin|then|else|loop|in) )(?:with .*)?\b"
_RULES = {
    "truncate": (r"truncate\b", "`truncate` loses every row, and older snapshots find the table empty."),
    "vacuum": (r"vacuum\b", "`vacuum` cannot run in the transaction of a migration."),
    "cluster": (r"cluster\b", "`cluster` writes the table anew, and nobody can read it meanwhile."),
    "whole-table": (
        r"(?:update (?:only )?\S+(?: (?:as )?(?!set\b)\w+)? set\b|delete from\b)(?!.*\bwhere\b)",
        "Without `where`, every row is written anew or lost.",
    ),
}
_RULES_OF_BLOCKS = {
    "index-in-block": (
        r"create (?:unique )?index\b",
        "An index that is made in a block is not made `concurrently`: nobody can write meanwhile.",
    ),
}
"""What squawk finds outside of blocks."""


def lint(migrations: Sequence[Path]) -> bool:
    """Whether nothing is found that would hold locks for long, or write or lose a whole table; prints what is."""
    argv = [str(Path(sys.executable).with_name("squawk")), "--reporter=gcc", *map(str, migrations)]
    passed = subprocess.run(argv, cwd=REPOSITORY, check=False).returncode == 0
    findings = [finding for migration in migrations for finding in _findings(migration)]
    for finding in findings:
        print(finding, flush=True)
    return passed and not findings


def _findings(migration: Path) -> Iterator[str]:
    """One line for each, in squawk's form."""
    for statement in _statements(migration.read_text("utf-8"), 1):
        rules = _RULES | _RULES_OF_BLOCKS if statement.in_block else _RULES
        for name, (pattern, message) in rules.items():
            if name not in statement.ignored and any(
                re.search(_BEGINNING + pattern, part) for part in statement.parts
            ):
                yield f"{migration}:{statement.line}:0: warning: {name} {message}"


@dataclass(frozen=True)
class _Statement:
    line: int
    parts: Sequence[str]
    """Its text, what stands in its parentheses, and what it executes."""
    ignored: AbstractSet[str]
    in_block: bool


def _statements(sql: str, line: int, *, in_block: bool = False) -> Iterator[_Statement]:
    """The statements that run, in place of blocks those in them. `line`: where `sql` begins."""
    text, first, ignored = "", line, set[str]()
    quoted: list[tuple[str, int]] = []
    for token in _TOKEN.finditer(sql):
        kind = token.lastgroup or ""
        if kind == "comment":
            ignored.update(_IGNORED.findall(token[0]))
        elif kind in {"string", "body"}:
            quoted.append((token[kind], line))
            text += "''"
        elif kind == "end":
            if re.match(r"do\b", text):
                for block, begins in quoted:
                    yield from _statements(block, begins, in_block=True)
            elif text:
                executes = in_block and re.search(r"\bexecute\b", text)
                executed = " ? ".join(string for string, _ in quoted) if executes else ""
                yield _Statement(first, [*_parts(text), *_parts(executed)], ignored, in_block)
            text, ignored, quoted = "", set(), []
        else:
            if kind == "word" and not text:
                first = line
            text += token[0] if text or kind == "word" else ""
        line += token[0].count("\n")


def _parts(text: str) -> Iterator[str]:
    """The text and what stands in its parentheses, each without what is nested in it, in lower case, single spaces."""
    text = " ".join(text.lower().split())
    while match := re.search(r"\(([^()]*)\)", text):
        yield match[1].strip()
        text = f"{text[: match.start()]} {text[match.end() :]}"
    yield text.strip()

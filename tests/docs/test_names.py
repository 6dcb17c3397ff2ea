"""What the documentation names exists, and what there is to know is named: settings, commands, files that it links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from typer.core import TyperGroup

from scripts.docs import errors, settings
from scripts.local.home import REPOSITORY
from service.app import create_app
from service.platform.settings import Settings
from tests.docs.blocks import BLOCKS, DOCUMENTS
from tests.docs.programs import command_tree, setting_names
from tests.service.conftest import settings_with

_VARIABLE = re.compile(r"\b(?:DARKROOM|SUPABASE|STRIPE|CLAMD|SENTRY|PROMETHEUS|REDIS)_[A-Z0-9_]+\b")
_COMMAND = re.compile(r"`darkroom ([^`]+)`")
_ROUTE = re.compile(
    r"\b((?:GET|POST|PUT|PATCH|DELETE|HEAD)(?:, (?:GET|POST|PUT|PATCH|DELETE))*) (/[\w/{}$.-]*)"
)
_LINK = re.compile(r"\]\(([^)#\s]+)?(#[^)\s]+)?\)")
_LOCAL = {
    "DARKROOM_API_PORT": "scripts/run: port of the API",
    "DARKROOM_SUPABASE_PORT": "scripts/run: port of the gateway",
    "DARKROOM_HOSTED_LOCALE": "tests/sql: like a hosted project, in a database of this locale",
    "DARKROOM_KEY": "an example's own variable",
    "DARKROOM_EXAMPLES": "tests: how many times as many random examples",
}
"""Variables that are no settings of the service."""
_NOT_OURS = {
    ("GET", "/v1/events"): "Stripe's",
    ("DELETE", "/tenants/{}/buckets/{}/orphan-objects"): "Supabase Storage's",
}
_API = REPOSITORY / "docs" / "api.md"


def _lines() -> Iterator[tuple[str, str]]:
    """Every line of every document, with its place."""
    for document in DOCUMENTS:
        for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
            yield f"{document.relative_to(REPOSITORY)}:{number}", line


def _leaves(group: TyperGroup, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _leaves(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


def _named_commands() -> Iterator[tuple[str, list[str]]]:
    """Command lines of the documentation: in blocks, in running text, and in the table of docs/admin.md."""
    for block in BLOCKS:
        if block.kind == "sh":
            for number, line in enumerate(block.text.splitlines(), block.line + 1):
                for part in re.split(r"[&|;]+", line.partition("#")[0]):
                    if part.split()[:1] == ["darkroom"]:
                        yield f"{block.document.relative_to(REPOSITORY)}:{number}", part.split()[1:]
    for place, line in _lines():
        for command in _COMMAND.findall(line):
            yield place, command.split()
        cells = [cell.strip() for cell in line.split(" | ")]
        if place.startswith("docs/admin.md") and len(cells) == 3 and "`" in cells[1]:
            for command in re.findall(r"`([^`]+)`", cells[1]):
                if not command.startswith(("darkroom", "/", "GET", "POST")):
                    yield place, ["admin", *command.split()]


def _routes(*, in_schema: bool) -> set[tuple[str, str]]:
    """(method, path) of each route, parameters without their names; or of those in the OpenAPI document alone."""
    return {
        (method, re.sub(r"\{[^}]*\}", "{}", route.path))
        for route in create_app(settings_with()).routes
        if isinstance(route, APIRoute) and (route.include_in_schema or not in_schema)
        for method in route.methods or ()
    }


def _named_routes() -> dict[tuple[str, str], str]:
    """Routes that docs/api.md and the guides that it links name, with a place of each."""
    guides = {_API, *(_API.parent / path for path, _ in _LINK.findall(_API.read_text("utf-8")) if path)}
    return {
        (method, re.sub(r"\{[^}]*\}|\$\w+", "{}", path.rstrip("."))): place
        for place, line in _lines()
        if REPOSITORY / place.partition(":")[0] in guides
        for methods, path in _ROUTE.findall(line)
        for method in methods.split(", ")
    }


def test_every_route_is_described() -> None:
    assert sorted(_routes(in_schema=True) - _named_routes().keys()) == []


def test_every_route_that_is_named_exists() -> None:
    known = _routes(in_schema=False) | _NOT_OURS.keys()
    assert {place: route for route, place in _named_routes().items() if route not in known} == {}


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = setting_names() | set(_LOCAL)
    unknown = [
        f"{place}: {name}"
        for place, line in _lines()
        for name in _VARIABLE.findall(line)
        if name not in known
    ]
    assert unknown == []


def test_the_page_of_settings_is_current() -> None:
    assert settings.PAGE.read_text("utf-8") == settings.page(), "`python -m scripts.docs.settings` writes it"


def test_the_page_of_error_codes_is_current() -> None:
    assert errors.PAGE.read_text("utf-8") == errors.page(), "`python -m scripts.docs.errors` writes it"


def test_every_setting_says_what_it_is() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert silent == []


def test_every_command_that_is_named_exists() -> None:
    unknown = []
    for place, words in _named_commands():
        command: object = command_tree()
        path = ["darkroom"]
        for word in words:
            if not isinstance(command, TyperGroup) or not re.fullmatch(r"[a-z][a-z-]*", word):
                break
            path.append(word)
            command = command.commands.get(word)
        if command is None:
            unknown.append(f"{place}: {' '.join(path)}")
            continue
        options = {
            option
            for parameter in getattr(command, "params", ())
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        if not isinstance(command, TyperGroup):
            wanted = set(re.findall(r"--[a-z][a-z-]*", " ".join(words)))
            unknown += [f"{place}: {' '.join(path)} {option}" for option in sorted(wanted - options)]
    assert unknown == []


def test_every_command_is_documented() -> None:
    named = [" ".join(words) for _place, words in _named_commands()]
    missing = [
        leaf
        for leaf in _leaves(command_tree())
        if not any(line == leaf or line.startswith(f"{leaf} ") for line in named)
        and not (
            leaf.startswith("bench ") and leaf.split()[1] in (REPOSITORY / "docs/benchmarks.md").read_text()
        )
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path) -> None:
    dead = []
    for path, anchor in _LINK.findall(document.read_text("utf-8")):
        if "://" in path:
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            dead.append(path)
        elif anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            if anchor[1:] not in anchors:
                dead.append(f"{path}{anchor}")
    assert dead == []

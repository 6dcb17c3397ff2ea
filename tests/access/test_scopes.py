"""Every route there is: with a key, only those that access/scopes.py names let it in, and each by its own scope."""

from __future__ import annotations

import re
import uuid

import httpx
from fastapi.routing import APIRoute

from scripts.local.home import REPOSITORY
from service.access.key_format import PATTERN
from service.access.scopes import PUBLIC, SCOPES, scope_of
from service.access.store import Scope
from service.app import create_app
from tests.access.conftest import ALL_SCOPES, Owner, bearer
from tests.service.conftest import settings_with

KNOWN_SCOPES = set(Scope.__args__)  # type: ignore[attr-defined]


def routes() -> list[tuple[str, str]]:
    """(method, path template) of every route of the application, those outside of the schema included."""
    found = create_app(settings_with()).routes
    return sorted(
        (method, route.path)
        for route in found
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    )


ROUTES = routes()


def test_the_table_names_routes_that_exist_and_scopes_that_are_given() -> None:
    names = {f"{method} {path}" for method, path in ROUTES}
    assert SCOPES.keys() <= names
    assert names >= PUBLIC
    assert not SCOPES.keys() & PUBLIC
    assert set(SCOPES.values()) == set(ALL_SCOPES) == KNOWN_SCOPES


def test_openapi_tells_the_scope_of_each_route() -> None:
    paths = create_app(settings_with()).openapi()["paths"]
    told = {
        f"{method.upper()} {path}": requirement["key"]
        for path, item in paths.items()
        for method, operation in item.items()
        for requirement in operation.get("security", ())
        if "key" in requirement
    }
    assert told == {route: [scope] for route, scope in SCOPES.items()}


def test_the_guide_lists_every_scope_and_route() -> None:
    guide = (REPOSITORY / "docs" / "access.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z]+(?::[a-z]+)?)` \| (`[A-Z]+ /.*) \|$", guide, re.MULTILINE)
    listed = {route: scope for scope, routes in rows for route in re.findall(r"`([^`]+)`", routes)}
    assert listed == SCOPES
    assert f"\n{PATTERN}\n" in guide


async def test_keys_are_refused_wherever_no_scope_is_named(owner: Owner) -> None:
    made = await owner.make()
    let_in = []
    for method, path in ROUTES:
        if scope_of(method, path) is not None or f"{method} {path}" in PUBLIC:
            continue
        answer = await _ask(owner, method, path, made["key"])
        if answer.status_code != 403 or "session_required" not in answer.text:
            let_in.append(f"{method} {path}: {answer.status_code} {answer.text}")
    assert let_in == []


async def test_each_scope_opens_its_routes_and_no_other(owner: Owner) -> None:
    keys = {scope: (await owner.make(scopes=[scope]))["key"] for scope in ALL_SCOPES}
    for method, path in ROUTES:
        needed = scope_of(method, path)
        if needed is None:
            continue
        for scope, key in keys.items():
            answer = await _ask(owner, method, path, key)
            code = answer.json().get("code") if answer.status_code in {401, 403} else None
            assert (code == "insufficient_scope") == (scope != needed), (method, path, scope, answer.text)
            assert code in {None, "insufficient_scope"}, (method, path, scope, answer.text)


async def test_public_routes_do_not_look_at_who_calls(owner: Owner) -> None:
    """A key that is wrong is no worse than none: no 401 where nobody asks who calls."""
    for method, path in ROUTES:
        if f"{method} {path}" in PUBLIC:
            answer = await _ask(owner, method, path, "dk_test_wrong")
            assert answer.status_code not in {401, 403}, (method, path)


async def _ask(owner: Owner, method: str, path: str, key: str) -> httpx.Response:
    """A request to a route with ids of nothing and an empty body: who may call is decided before what is asked."""
    filled = re.sub(r"\{[^}]*\}", str(uuid.uuid4()), path)
    body: dict[str, str] | None = None if method in {"GET", "HEAD"} else {}
    return await owner.http.request(method, filled, json=body, headers=bearer(key))

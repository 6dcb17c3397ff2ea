"""Nobody but operators gets an answer under /admin/api, whatever the route; nor anything of it out of PostgREST."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

import httpx
import pytest

from scripts.local.home import REPOSITORY, Local
from scripts.local.process import Child
from service.admin.store import Admin
from service.platform.resources import Platform
from tests.admin.conftest import Caller, Opener
from tests.support import new_sha256

RIGHTS = (REPOSITORY / "supabase" / "functions" / "99_rights.sql").read_text("utf-8")
FUNCTIONS = {name for name in re.findall(r"(?<=[{,])\w+(?=[,}])", RIGHTS) if "admin" in name} | {
    *("replay_job", "refused_jobs", "review_refused", "list_blocked", "system_report"),
    *("pictures_in_review", "approve_picture"),
    *(
        "block_hash",
        "unblock_hash",
        "set_plan",
        "flag_account",
        "grant_credits",
        "take_credits",
        "refund_job",
    ),
}


@dataclass(frozen=True)
class Route:
    """A route of the API, with the body it takes at the least."""

    method: str
    path: str

    def filled(self) -> str:
        """The path with ids that nothing has."""
        values = {"sha256": new_sha256()}
        return re.sub(r"\{(\w+)\}", lambda name: values.get(name[1], str(uuid.uuid4())), self.path)

    @property
    def acts(self) -> bool:
        return self.method != "GET"


@pytest.fixture(scope="session")
async def routes(api: Child) -> list[Route]:
    """As OpenAPI lists them, so that a new one cannot be forgotten."""
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    found = [
        Route(method.upper(), path)
        for path, methods in paths.items()
        if path.startswith("/admin")
        for method in methods
    ]
    assert len(found) >= 20
    assert all(route.path.startswith("/admin/api/") for route in found)
    return found


async def answers(http: httpx.AsyncClient, routes: list[Route]) -> dict[Route, tuple[int, str | None]]:
    """(status, code) by route."""
    found: dict[Route, tuple[int, str | None]] = {}
    for route in routes:
        answer = await http.request(route.method, route.filled(), json={} if route.acts else None)
        body = answer.json() if answer.content else {}
        found[route] = (answer.status_code, body.get("code"))
    return found


async def test_visitors_are_asked_to_sign_in(api: Child, routes: list[Route]) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as http:
        assert set((await answers(http, routes)).values()) == {(401, "sign_in_required")}


async def test_users_are_refused(caller: Opener, routes: list[Route]) -> None:
    user = await caller(None)
    assert set((await answers(user.http, routes)).values()) == {(403, "admin_required")}


async def test_who_was_an_operator_is_refused_at_once(
    caller: Opener, routes: list[Route], platform: Platform
) -> None:
    former = await caller("admin")
    await former.say("GET", "/me")
    await Admin(platform.database).revoke_role(str(former.user.id), "cli:test", "left")
    assert set((await answers(former.http, routes)).values()) == {(403, "admin_required")}


async def test_a_role_in_the_tokens_metadata_is_none(api: Child, local: Local, routes: list[Route]) -> None:
    """Whatever users write into their own metadata ends up in their token."""
    async with httpx.AsyncClient(trust_env=False, headers={"apikey": local.publishable_key}) as auth:
        body = {
            "email": f"{uuid.uuid4().hex}@example.com",
            "password": uuid.uuid4().hex,
            "data": {"role": "admin", "admin": True, "app_metadata": {"role": "admin"}},
        }
        signed_up = await auth.post(f"{local.supabase_url}/auth/v1/signup", json=body)
    token = signed_up.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, trust_env=False) as http:
        assert set((await answers(http, routes)).values()) == {(403, "admin_required")}


async def test_an_operators_api_key_opens_nothing(
    api: Child, caller: Opener, routes: list[Route], platform: Platform
) -> None:
    """Keys lie about in programs: what an operator does, they do themselves."""
    admin = await caller("admin")
    await admin.say("POST", f"/users/{admin.user.id}/plan", {"plan_id": "pro", "reason": "keys"})
    made = await admin.http.post("/api-keys", json={"name": "mine", "scopes": ["jobs:read", "usage:read"]})
    assert made.status_code == 201, made.text
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, trust_env=False) as http:
        assert set((await answers(http, routes)).values()) == {(403, "session_required")}


async def test_support_looks_and_does_not_touch(caller: Opener, routes: list[Route]) -> None:
    support = await caller("support")
    found = await answers(support.http, routes)
    for route, answer in found.items():
        if route.acts:
            assert answer == (403, "admin_required"), route
        else:
            assert answer[0] in {200, 404}, (route, answer)


async def test_operators_get_an_answer_everywhere(admin: Caller, routes: list[Route]) -> None:
    found = await answers(admin.http, routes)
    assert {status for status, _code in found.values()} <= {200, 404, 422}
    assert all(answer == (422, "invalid_request") for route, answer in found.items() if route.acts)


@pytest.mark.parametrize("role", [None, "admin"])
async def test_postgrest_gives_operators_no_more_than_anybody(
    caller: Opener, local: Local, role: str | None
) -> None:
    """Not even the functions that look: what an operator may do, the API does for them."""
    user = (await caller("admin" if role else None)).user
    headers = {"apikey": local.publishable_key, **user.bearer}
    async with httpx.AsyncClient(
        base_url=f"{local.supabase_url}/rest/v1", headers=headers, trust_env=False
    ) as rest:
        for table in ("admins", "moderation_reviews", "abuse_signals", "blocked_hashes", "audit_log"):
            assert (await rest.get(f"/{table}")).status_code in {401, 403}, table
        row = {"user_id": str(user.id), "role": "admin", "granted_by": "me"}
        assert (await rest.post("/admins", json=row)).status_code in {401, 403}
        for function in sorted(FUNCTIONS):
            answer = await rest.post(f"/rpc/{function}", json={})
            assert answer.status_code in {401, 403, 404}, (function, answer.text)

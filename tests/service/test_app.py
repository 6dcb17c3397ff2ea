"""The application as it is put together: health, the catalogue, the page, CORS, the OpenAPI document."""

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import structlog
from fastapi import FastAPI
from starlette.routing import Mount, Route

from scripts.local.home import Local
from service.app import create_app
from service.credits.errors import insufficient_credits
from service.health.checks import EXPORT_OVERHEAD_BYTES
from service.intake.errors import too_many_jobs
from service.ops.registry import parse
from service.platform.errors import (
    bad_parameter,
    known,
    malformed_json,
    rate_limited,
    too_large,
    unknown_op,
    unsupported_type,
)
from service.platform.pages import PageFiles
from service.platform.settings import Settings, SettingsError, get_settings
from service.platform.storage import UPLOADS
from tests.library.people import Connection
from tests.service.conftest import RedisServer, settings_for, settings_with

AppFor = Callable[[Settings], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serve() -> Iterator[AppFor]:
    """Runs the whole application, its lifespan included, in this process; the session's loggers come back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(settings)
        transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://darkroom") as client,
        ):
            yield client

    yield run
    root.handlers[:], root.level = handlers, level
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
async def client(local: Local, serve: AppFor) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(settings_for(local)) as opened:
        yield opened


async def test_liveness_needs_nobody(serve: AppFor) -> None:
    async with serve(settings_with()) as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readiness_with_everything_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    services = {"redis", "database", "database_writes", "storage", "clamd", "billing"}
    assert set(body["checks"]) == services | {"moderation"}
    assert body["checks"].pop("moderation")["ok"]
    for optional in ("clamd", "billing"):
        assert body["checks"].pop(optional) == {"ok": True, "ms": 0, "detail": "off"}
    for check in body["checks"].values():
        assert check["ok"]
        assert 0 < check["ms"] < 3000


async def test_without_redis_it_is_degraded_but_serves(
    local: Local, serve: AppFor, own_redis: RedisServer
) -> None:
    async with serve(settings_for(local, redis_url=own_redis.url)) as client:
        await own_redis.kill()
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert not ready.json()["checks"]["redis"]["ok"]
        missing = await client.get("/jobs/00000000-0000-4000-8000-000000000000")
        assert (missing.status_code, missing.json()["code"]) == (404, "job_not_found")
        assert missing.headers["cache-control"] == "no-store"


async def test_without_supabase_it_is_down(local: Local, serve: AppFor) -> None:
    async with serve(settings_with(redis_url=local.redis_url)) as client:
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "down")
        checks = ready.json()["checks"]
        assert checks["redis"]["ok"]
        assert checks["database"] == {
            "ok": False,
            "ms": checks["database"]["ms"],
            "detail": "does not answer",
        }
        job = await client.get("/jobs/00000000-0000-4000-8000-000000000000")
        assert (job.status_code, job.json()["code"]) == (503, "dependency_unavailable")


async def test_many_monitors_ask_once(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.get("/ready") for _ in range(20)))
    assert len({answer.text for answer in answers}) == 1


async def test_a_path_lists_all_its_methods(client: httpx.AsyncClient) -> None:
    answer = await client.put("/jobs/00000000-0000-4000-8000-000000000000")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, DELETE"


METRICS_TOKEN = "m" * 32
METRICS_BEARER = {"Authorization": f"Bearer {METRICS_TOKEN}"}


async def test_metrics_name_routes_by_their_template(local: Local, serve: AppFor) -> None:
    async with serve(settings_for(local, metrics_token=METRICS_TOKEN)) as client:
        await client.get("/jobs/00000000-0000-4000-8000-000000000000")
        text = (await client.get("/metrics", headers=METRICS_BEARER)).text
    assert 'route="/jobs/{job_id}"' in text
    assert "00000000-0000" not in text


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_metrics_are_closed_without_their_token(serve: AppFor, environment: str) -> None:
    project = {"environment": environment, "supabase_url": "https://abcdefgh.supabase.co"}
    async with serve(settings_with(**project)) as client:
        for headers in ({}, {"Authorization": "Bearer "}, METRICS_BEARER):
            answer = await client.get("/metrics", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    async with serve(settings_with(**project, metrics_token=METRICS_TOKEN)) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
            assert (await client.get("/metrics", headers=headers)).status_code == 401
        assert (await client.get("/metrics", headers=METRICS_BEARER)).status_code == 200


HOST = "evil.example"


def addresses(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every route, files and pages included, with ids that nobody has."""
    for route in app.routes:
        assert isinstance(route, Route | Mount)
        for method in (isinstance(route, Route) and route.methods) or {"GET"}:
            yield method, re.sub(r"\{[^}]*\}", "00000000-0000-4000-8000-000000000000", route.path)


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_every_answer_of_every_route_is_guarded(serve: AppFor, environment: str) -> None:
    """A content policy, no sniffing, HTTPS alone in production, and no word of the Host that the caller claims."""
    settings = settings_with(environment=environment, supabase_url="https://127.0.0.1:9")
    seen = 0
    routes = sorted(set(addresses(create_app(settings))))
    async with serve(settings) as client:
        assert ("GET", "/docs") in routes
        assert ("GET", "/openapi.json") in routes
        more = [("GET", path) for path in ("/nowhere", "/static/darkroom.js", "/static/index.html")]
        for method, path in [*routes, *more]:
            for slash in ("", "/"):
                for host in (HOST, "["):
                    answer = await client.request(method, path + slash, headers={"Host": host})
                    seen += 1
                    where = f"{method} {path}{slash} {answer.status_code}"
                    policies = answer.headers.get_list("content-security-policy")
                    assert len(policies) == 1, where
                    assert policies[0].startswith("default-src 'none'; "), where
                    assert "frame-ancestors 'none'" in policies[0], where
                    assert answer.headers["x-content-type-options"] == "nosniff", where
                    assert ("strict-transport-security" in answer.headers) is settings.production, where
                    assert HOST not in answer.text + str(answer.headers), where
                    if 300 <= answer.status_code < 400:  # a shared picture whose ticket is over
                        assert re.fullmatch(r"/s/[\w-]+", answer.headers["location"]), where
                    assert answer.status_code != 500, where
    assert seen > 400


async def test_a_slash_too_many_is_a_problem_and_no_redirect(client: httpx.AsyncClient) -> None:
    for path in ("/health/", "/ops/", "/admin/static", "/static"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert "location" not in answer.headers


async def test_the_documentation_runs_its_own_script_alone(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    policy = page.headers["content-security-policy"]
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    for address in re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text):
        assert (await client.get(address)).status_code == 200


async def test_the_catalogue_is_enough_to_write_keys(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ops")
    body = answer.json()
    names = {op["name"] for op in body["ops"]}
    assert {"resize", "crop", "convert", "compress", "enhance", "flatten", "shadow", "watermark"} <= names
    assert {"upscale", "bgremove", "compose"} <= names
    for op in body["ops"]:
        assert op["parameters"]["type"] == "object"
        for key in op["examples"]:
            assert parse(key).key
    assert body["limits"]["max_bytes"] == 50 * 1024 * 1024
    assert "image/svg+xml" in body["limits"]["content_types"]
    again = await client.get("/ops", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_page_may_talk_to_its_own_project_only(client: httpx.AsyncClient, local: Local) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert f"connect-src 'self' {local.supabase_url};" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]


async def test_the_client_module_is_served_as_a_module(client: httpx.AsyncClient) -> None:
    module = await client.get("/static/darkroom.js")
    assert module.status_code == 200
    assert module.headers["content-type"].startswith("text/javascript")
    assert module.headers["x-content-type-options"] == "nosniff"
    outside = await client.get("/static/../app.py")
    assert outside.status_code == 404
    assert (await client.get("/static/%2e%2e/app.py")).status_code == 404


async def test_what_the_page_loads_may_be_kept_for_ever(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["cache-control"] == "no-cache"
    [version] = set(re.findall(r"static/(v-[0-9a-f]{16})/", page.text))
    assert '<a href="static/darkroom.js">' in page.text  # an address to copy
    for path, cache in (
        (f"/static/{version}/app.js", "public, max-age=31536000, immutable"),
        (f"/static/{version}/darkroom/hash.js", "public, max-age=31536000, immutable"),
        ("/static/app.js", "no-cache"),
        (
            f"/static/v-{'0' * 16}/app.js",
            "no-cache",
        ),  # a page of another release, while this one is rolled out
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, cache), path
        assert answer.headers["content-security-policy"] == page.headers["content-security-policy"]
        again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, cache), path
    for path in (
        f"/static/{version}",
        f"/static/{version}/../../app.py",
        f"/static/{version}/{version}/app.js",
    ):
        assert (await client.get(path)).status_code == 404, path


def test_the_version_of_pages_changes_with_bytes_and_names(tmp_path: Path) -> None:
    (tmp_path / "ui").mkdir()
    (tmp_path / "ui" / "a.js").write_text("1")
    files = PageFiles(tmp_path, policy="default-src 'none'")
    seen = [files.version()]
    assert files.version() == seen[0] == PageFiles(tmp_path, policy="").version()
    (tmp_path / "ui" / "a.js").write_text("2")
    seen.append(files.version())
    (tmp_path / "ui" / "a.js").rename(tmp_path / "ui" / "b.js")
    seen.append(files.version())
    assert len(set(seen)) == 3
    assert files.versioned('<script src="static/app.js" type="module">') == (
        f'<script src="static/{seen[2]}/app.js" type="module">'
    )


async def test_the_configuration_for_browsers_holds_no_secret(
    client: httpx.AsyncClient, local: Local
) -> None:
    answer = await client.get("/config.json")
    assert answer.json() == {
        "supabase_url": local.supabase_url,
        "publishable_key": local.publishable_key,
        "billing": False,
    }
    assert local.secret_key not in answer.text


class TestCors:
    PREFLIGHT: ClassVar = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,baggage,content-type,sentry-trace,"
        "traceparent,tracestate,x-request-id",
    }

    async def test_any_origin_in_development(self, client: httpx.AsyncClient) -> None:
        headers = {"Origin": "http://localhost:3000"}
        preflight = await client.options("/intake", headers={**headers, **self.PREFLIGHT})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "*"
        refused = await client.post("/intake", content=b"{", headers=headers)
        assert refused.status_code == 400
        assert refused.headers["access-control-allow-origin"] == "*"
        exposed = refused.headers["access-control-expose-headers"]
        for name in ("RateLimit", "Retry-After", "X-Request-Id"):
            assert name in exposed
        assert "access-control-allow-credentials" not in refused.headers

    async def test_named_origins_only(self, local: Local, serve: AppFor) -> None:
        async with serve(settings_for(local, cors_origins="https://app.example")) as client:
            for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
                preflight = await client.options("/intake", headers={"Origin": origin, **self.PREFLIGHT})
                assert (preflight.status_code == 200) is allowed
                assert (preflight.headers.get("access-control-allow-origin") == origin) is allowed

    async def test_closed_in_production(self, serve: AppFor) -> None:
        settings = settings_with(environment="production", supabase_url="https://abcdefgh.supabase.co")
        async with serve(settings) as client:
            answer = await client.get("/health", headers={"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in answer.headers


class TestOpenApi:
    @pytest.fixture
    def document(self) -> dict[str, Any]:
        return create_app(settings_with()).openapi()

    def test_every_reference_leads_somewhere(self, document: dict[str, Any]) -> None:
        found: set[str] = set()

        def walk(node: Any) -> None:
            if isinstance(node, dict):
                if isinstance(node.get("$ref"), str):
                    found.add(node["$ref"])
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)

        walk(document)
        assert found
        assert found <= {
            f"#/components/{kind}/{name}"
            for kind in ("schemas", "parameters", "headers")
            for name in document["components"][kind]
        }

    def test_errors_are_problems_and_nothing_else(self, document: dict[str, Any]) -> None:
        operations = [
            operation
            for path, item in document["paths"].items()
            for operation in item.values()
            if "responses" in operation and path != "/s/{token}"  # a page as well, for browsers
        ]
        assert len(operations) >= 8
        for operation in operations:
            for status, response in operation["responses"].items():
                if int(status) >= 400 and operation["operationId"].startswith("ready") is False:
                    assert set(response["content"]) == {"application/problem+json"}, operation["operationId"]
        assert "HTTPValidationError" not in document["components"]["schemas"]

    def test_each_schema_has_a_name_of_its_own(self, document: dict[str, Any]) -> None:
        """Of two models with one name FastAPI tells the modules, and so renames them whenever one moves."""
        assert not [name for name in document["components"]["schemas"] if "__" in name]

    def test_the_codes_of_an_intake_are_listed_with_examples(self, document: dict[str, Any]) -> None:
        listed = document["paths"]["/intake"]["post"]["responses"]
        codes = {
            code
            for status, response in listed.items()
            if int(status) >= 400
            for code in response["content"]["application/problem+json"]["examples"]
        }
        expected = {
            unknown_op,
            bad_parameter,
            unsupported_type,
            too_large,
            too_many_jobs,
        }
        assert {*expected, insufficient_credits, rate_limited, malformed_json} <= codes
        for code in codes:
            assert str(known(code).status) in listed

    def test_signing_in_is_optional(self, document: dict[str, Any]) -> None:
        assert document["security"] == [{}, {"user": []}]


def test_an_application_without_configuration_says_what_is_missing() -> None:
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="SUPABASE_URL is missing"):
        create_app()


async def test_it_does_not_start_where_a_bucket_refuses_what_it_would_accept(
    local: Local, serve: AppFor, db: Connection
) -> None:
    limit = await db.fetchval("select file_size_limit from storage.buckets where id = $1", UPLOADS)
    async with serve(settings_for(local, max_bytes=limit)) as client:
        assert (await client.get("/health")).status_code == 200
    named = rf"DARKROOM_MAX_BYTES is {limit + 1}, .* bucket {UPLOADS} takes .* {limit} bytes"
    with pytest.raises(SettingsError, match=named):
        async with serve(settings_for(local, max_bytes=limit + 1)):
            pytest.fail("it started")


async def test_it_does_not_start_where_a_bucket_refuses_full_exports(
    local: Local, serve: AppFor, db: Connection
) -> None:
    """The file of an export is larger than its pictures."""
    limit = await db.fetchval("select file_size_limit from storage.buckets where id = 'exports'")
    async with serve(settings_for(local, export_max_bytes=limit - EXPORT_OVERHEAD_BYTES)) as client:
        assert (await client.get("/health")).status_code == 200
    with pytest.raises(SettingsError, match=r"DARKROOM_EXPORT_MAX_BYTES is \d+ .* bucket exports"):
        async with serve(settings_for(local, export_max_bytes=limit)):
            pytest.fail("it started")

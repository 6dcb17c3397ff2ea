"""Fuzzing by the OpenAPI document: whatever is sent, no answer is a 5xx, and every answer is a documented one."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import httpx
import pytest

from scripts.local.process import Child
from service.access.scopes import SCOPES
from tests.support import User

EXAMPLES = os.environ.get("DARKROOM_FUZZ_EXAMPLES", "40")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


async def _key(api: Child, user: User, db: asyncpg.Connection[asyncpg.Record]) -> str:
    """An API key of the user with every scope."""
    await db.execute("update public.profiles set plan_id = 'pro' where user_id = $1", user.id)
    wanted = {"name": "fuzz", "scopes": sorted(set(SCOPES.values()))}
    async with httpx.AsyncClient(base_url=api.url, headers=user.bearer, trust_env=False) as client:
        answer = await client.post("/api-keys", json=wanted)
    answer.raise_for_status()
    key: str = answer.json()["key"]
    return key


@pytest.mark.timeout(900)
@pytest.mark.parametrize("caller", ["anonymous", "user", "key"])
async def test_no_request_breaks_the_service(
    api: Child, user: User, caller: str, db: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    token = {"anonymous": None, "user": user.token, "key": await _key(api, user, db)}[caller]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--seed", "1", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "20"]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()

"""What the contract tests need beside the stack: a policy for their buckets, a storage client, raw HTTP."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from scripts.local.home import Local

POLICY = """
create policy contract_own_folder on storage.objects for all to authenticated
using (bucket_id like 'contract-%' and (storage.foldername(name))[1] = (select auth.uid())::text)
with check (bucket_id like 'contract-%' and (storage.foldername(name))[1] = (select auth.uid())::text);
"""


@pytest.fixture(scope="package")
async def policy(local: Local) -> AsyncIterator[None]:
    """Signed-in users may do anything in the folder of their own id, in buckets `contract-…`. It is dropped afterwards:
    other tests of this process compare the schema with the migrations."""
    connection = await asyncpg.connect(local.database_url)
    try:
        await connection.execute(POLICY)
        yield
        await connection.execute("drop policy contract_own_folder on storage.objects")
    finally:
        await connection.close()


@dataclass(frozen=True)
class Target:
    """The storage server under test: the stack's own, or the one that CONTRACT_… names."""

    url: str
    service_key: str
    database_url: str


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """See test_real_server for the environment variables; without them the stack is started."""
    if url := os.environ.get("CONTRACT_STORAGE_URL"):
        return Target(
            url.rstrip("/"), os.environ["CONTRACT_SERVICE_KEY"], os.environ["CONTRACT_DATABASE_URL"]
        )
    local: Local = request.getfixturevalue("local")
    return Target(f"{local.supabase_url}/storage/v1", local.secret_key, local.database_url)


@pytest.fixture
async def http(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    """Raw requests to the storage server without any key."""
    async with httpx.AsyncClient(base_url=target.url, trust_env=False) as client:
        yield client


@pytest.fixture
def service_key(target: Target) -> dict[str, str]:
    """Headers of the service role."""
    return {"apikey": target.service_key, "Authorization": f"Bearer {target.service_key}"}


@pytest.fixture
async def bucket(http: httpx.AsyncClient, service_key: dict[str, str]) -> str:
    """A fresh private bucket without limits."""
    return await make_bucket(http, service_key)


async def make_bucket(http: httpx.AsyncClient, service_key: dict[str, str], **settings: object) -> str:
    """A fresh bucket; `settings` as the REST body has them."""
    name = f"contract-{secrets.token_hex(6)}"
    answer = await http.post("/bucket", headers=service_key, json={"name": name, "id": name, **settings})
    answer.raise_for_status()
    return name

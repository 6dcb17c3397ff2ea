"""What the contract tests need beside the stack: a policy for their buckets, a storage client, raw HTTP."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from scripts.local.home import Local

POLICY = """
select pg_advisory_xact_lock(hashtext('tests.contract'));
drop policy if exists contract_own_folder on storage.objects;
create policy contract_own_folder on storage.objects for all to authenticated
using (bucket_id like 'contract-%' and (storage.foldername(name))[1] = (select auth.uid())::text)
with check (bucket_id like 'contract-%' and (storage.foldername(name))[1] = (select auth.uid())::text);
"""


@pytest.fixture(scope="session")
async def policy(local: Local) -> None:
    """Signed-in users may do anything in the folder of their own id, in buckets `contract-…`."""
    connection = await asyncpg.connect(local.database_url)
    try:
        async with connection.transaction():
            await connection.execute(POLICY)
    finally:
        await connection.close()


@pytest.fixture
async def http(local: Local) -> AsyncIterator[httpx.AsyncClient]:
    """Raw requests to /storage/v1 without any key."""
    async with httpx.AsyncClient(base_url=f"{local.supabase_url}/storage/v1", trust_env=False) as client:
        yield client


@pytest.fixture
def service_key(local: Local) -> dict[str, str]:
    """Headers of the service role."""
    return {"apikey": local.secret_key}


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

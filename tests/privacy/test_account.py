"""Deleting the account by the Auth API, which the embedded stack has not: a fake speaks its protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from scripts.local.home import Local
from service.platform.resources import Platform
from service.privacy.store import DataRequest, DataRequests
from tests.fakes.gotrue import GoTrue
from tests.jobs import new_queue
from tests.privacy.estate import Connection, furnish, wiped_clean
from tests.support import User
from workers.context import Slots, WorkerContext
from workers.data_requests import run_request
from workers.imaging.pool import PixelPool

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
async def auth(db: Connection, local: Local) -> AsyncIterator[GoTrue]:
    async with GoTrue(db, local.secret_key) as fake:
        yield fake


@pytest.fixture
def context(platform: Platform, auth: GoTrue) -> WorkerContext:
    """A worker of this process; database and Storage are the stack's, Auth is the fake."""
    settings = platform.settings.model_copy(update={"supabase_url": auth.url})
    own = dataclasses.replace(platform, settings=settings)
    return WorkerContext(own, PixelPool(workers=1, memory_mb=256), Slots(1), "account")


async def asked(platform: Platform, user_id: UUID) -> DataRequest:
    return await DataRequests(platform.database).request_deletion(
        user_id, delete_account=True, queue=new_queue()
    )


async def turn(context: WorkerContext, db: Connection, request: DataRequest) -> DataRequest:
    """One turn of a worker, as soon as there may be one."""
    await db.execute("update public.data_requests set run_at = now() where id = $1", request.request_id)
    claimed = await DataRequests(context.platform.database).claim_request(request.queue, context.name, 30)
    assert claimed is not None
    await run_request(context, claimed)
    row = await DataRequests(context.platform.database).get_request(request.request_id, request.user_id)
    assert row is not None
    return row


async def ended(
    context: WorkerContext, db: Connection, request: DataRequest, *, turns: int = 4
) -> DataRequest:
    row = request
    for _ in range(turns):
        row = await turn(context, db, request)
        if row.status == "done":
            return row
    raise AssertionError(row)


def account(row: DataRequest) -> str:
    assert row.receipt is not None
    return str(row.receipt["account"])


async def test_the_auth_api_deletes_the_account(
    context: WorkerContext, platform: Platform, auth: GoTrue, db: Connection, user: User
) -> None:
    estate = await furnish(platform, db, user, silent_seconds=0.01)
    row = await ended(context, db, await asked(platform, user.id))
    assert account(row) == "deleted"
    assert auth.requests == [("DELETE", f"/auth/v1/admin/users/{user.id}")]
    assert not await db.fetchval("select count(*) from auth.users where id = $1", user.id)
    await wiped_clean(db, platform, estate, account=True)


@pytest.mark.parametrize("faults", [[500], [504, 500], [429], ["lost"]], ids=str)
async def test_an_auth_that_fails_is_asked_again(  # noqa: PLR0917
    context: WorkerContext,
    platform: Platform,
    auth: GoTrue,
    db: Connection,
    user: User,
    faults: list[int | str],
) -> None:
    """`lost`: the account had gone, and only the answer was missing; the next one is 404."""
    auth.faults = list(faults)
    request = await asked(platform, user.id)
    told = set()
    row = request
    while row.status != "done":
        row = await turn(context, db, request)
        assert row.status in {"queued", "done"}
        if row.error is not None:
            told.add((row.error["code"], row.error["retryable"]))
    # A client may repeat a lost call by itself: deleting is idempotent.
    assert told == {("dependency_unavailable", True)} or faults == ["lost"]
    assert (row.error, account(row)) == (None, "deleted")
    assert len(auth.requests) == len(faults) + 1
    assert not await db.fetchval("select count(*) from auth.users where id = $1", user.id)
    money = "select count(*) from public.audit_log where action = 'data.delete.money' and subject = $1"
    assert await db.fetchval(money, str(request.request_id)) == 1


async def test_an_account_that_has_gone_already(
    context: WorkerContext, platform: Platform, auth: GoTrue, db: Connection, user: User
) -> None:
    request = await asked(platform, user.id)
    await db.execute("delete from auth.users where id = $1", user.id)
    row = await ended(context, db, request)
    assert account(row) == "deleted"
    assert len(auth.requests) == 1


async def test_where_the_auth_api_refuses_the_database_does_it(
    context: WorkerContext, platform: Platform, auth: GoTrue, db: Connection, user: User
) -> None:
    auth.faults = [403]
    row = await ended(context, db, await asked(platform, user.id))
    assert account(row) == "deleted"
    assert not await db.fetchval("select count(*) from auth.users where id = $1", user.id)


async def test_without_the_wish_auth_is_not_asked(
    context: WorkerContext, platform: Platform, auth: GoTrue, db: Connection, user: User
) -> None:
    request = await DataRequests(platform.database).request_deletion(
        user.id, delete_account=False, queue=new_queue()
    )
    assert account(await ended(context, db, request)) == "kept"
    assert auth.requests == []

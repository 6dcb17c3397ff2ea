"""Hot queries use their indexes on a large table. Counted, not guessed: the functions themselves run, and Postgres
says how often each index was scanned and how many rows were read in order, in that very transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scripts.local.home import Local
from tests.sql.scratch import scratch_database
from tests.sql.world import World, open_connection

ROWS = 20_000
USER = "00000000-0000-4000-8000-000000000001"
FREE_USER = "00000000-0000-4000-8000-000000000002"
"""Somebody with no unfinished job."""
JOB = "00000000-0000-4000-8000-000000010000"
"""A queued job in the middle."""

SEED = f"""
set local session_replication_role = replica;
insert into auth.users (id, email)
  select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.com'
  from generate_series(1, 200) n;
insert into public.profiles (user_id) select id from auth.users;
insert into public.credits (user_id) select id from auth.users;
insert into public.jobs (id, user_id, status, sha256, filename, size, width, height, op_key, cache_key, queue,
                         upload_path, upload_expires_at, expires_at, finished_at, created_at, run_at)
  select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
         case when n % 2 = 0 then ('00000000-0000-4000-8000-' || lpad((n / 2 % 200 + 1)::text, 12, '0'))::uuid end,
         case when n % 20 = 0 then 'queued' else 'done' end, encode(sha256(n::text::bytea), 'hex'), 'f', 1, 1, 1,
         'resize-v1:width-' || n, public.cache_key(encode(sha256(n::text::bytea), 'hex'), 'resize-v1', 'full'),
         'default', n || '/original', case when n % 20 <> 0 then now() + (n - 10) * interval '1 second' end,
         now() + interval '1 day', case when n % 20 <> 0 then now() end, now() - n * interval '1 second',
         now() - n * interval '1 second'
  from generate_series(1, {ROWS}) n;
insert into public.image_outputs (job_id, cache_key, input_sha256, input_content_type, input_width, input_height,
                                  input_size, op_key, variant, bucket, path, thumb_path, content_type, width, height,
                                  size, sha256, expires_at)
  select j.id, j.cache_key, j.sha256, 'image/jpeg', 1, 1, 1, j.op_key, 'full', 'outputs-ephemeral', j.id || '.webp',
         j.id || '.thumb.webp', 'image/webp', 1, 1, 1, j.sha256,
         now() + (row_number() over () - 10) * interval '1 second'
  from public.jobs j;
"""


@pytest.fixture(scope="module")
async def crowded(local: Local) -> AsyncIterator[World]:
    """A database with many jobs and outputs, analysed."""
    async with scratch_database(local.database_url) as url:
        connection = await open_connection(url)
        async with connection.transaction():
            await connection.execute(SEED)
        await connection.execute("select public.repair_lanes()")  # the seed went around the triggers
        await connection.execute("vacuum analyze")
        yield World(connection)
        await connection.close()


ADMIN_JOBS = "select public.admin_jobs(50, null, null, null, null, {}, {}, null, null)"
HOT = {
    "cache lookup": (
        f"select private.find_output(public.cache_key(encode(sha256('777'), 'hex'), 'resize-v1', 'full'), '{USER}',"
        f" '{USER}', 1, 1, 1, interval '1 day')",
        {"image_outputs_cache"},
    ),
    "claim": (
        "select public.claim_next('default', 'worker', 30)",
        {"lanes_ready", "jobs_next", "jobs_single_flight"},
    ),
    "place in the queue": (f"select public.queue_position('{JOB}')", {"jobs_next", "lanes_ready"}),
    "expiry": ("select public.expire_due(1000)", {"image_outputs_expiry", "jobs_uploads"}),
    "sweep": ("select public.sweep()", {"jobs_leases", "jobs_awaiting", "jobs_deadline"}),
    "miss of a user": (
        f"select public.intake('{FREE_USER}', repeat('a', 64), 'f', null, 1, 1, 1, 'resize-v1', 'full', true, 0,"
        " 'default', false, true, 900, 86400, 86400, null)",
        {"image_outputs_cache", "jobs_in_flight", "jobs_reusable_upload"},
    ),
    "job": (f"select public.get_job('{JOB}', null)", {"jobs_pkey"}),
    "an operator's list of jobs": (ADMIN_JOBS.format("null", "null"), {"jobs_by_time"}),
    "an operator's list of a user's jobs": (ADMIN_JOBS.format(f"'{USER}'", "null"), {"jobs_by_user"}),
    "an operator's list of failures": (ADMIN_JOBS.format("null", "'op_failed'"), {"jobs_by_error"}),
    "an operator's look at a user": (f"select public.admin_user('{USER}')", {"jobs_by_user"}),
    "refused pictures": ("select public.refused_jobs(50, null, null, false)", {"jobs_by_error"}),
}
LARGE = ("public.jobs", "public.image_outputs")


@pytest.mark.parametrize("query", HOT)
async def test_a_hot_query_uses_its_index(crowded: World, query: str) -> None:
    sql, indexes = HOT[query]
    transaction = crowded.connection.transaction()
    await transaction.start()
    try:
        before = await _scans(crowded, indexes)
        await crowded.connection.execute(sql)
        after = await _scans(crowded, indexes)
    finally:
        await transaction.rollback()
    assert {name for name in indexes if after[name] == before[name]} == set(), "indexes that were not used"
    for table in LARGE:
        assert after[table] == before[table], f"{table} was read from end to end"


async def _scans(world: World, indexes: set[str]) -> dict[str, int]:
    """Scans in this transaction: of each index, and from end to end of each large table."""
    counts = {
        name: int(await world.value("select pg_stat_get_xact_numscans($1::text::regclass)", f"public.{name}"))
        for name in indexes
    }
    return counts | {
        name: int(await world.value("select pg_stat_get_xact_numscans($1::text::regclass)", name))
        for name in LARGE
    }


@pytest.mark.parametrize("table", ["jobs", "image_outputs", "images", "credit_ledger"])
async def test_a_users_list_comes_in_order_from_an_index(crowded: World, table: str) -> None:
    """As supabase-js asks for it, under RLS and naming whose library: the newest first, without sorting."""
    transaction = crowded.connection.transaction()
    await transaction.start()
    try:
        await crowded.value("select set_config('request.jwt.claim.sub', $1, true)", USER)
        await crowded.value("select set_config('enable_seqscan', 'off', true)")
        await crowded.connection.execute("set local role authenticated")
        rows = await crowded.connection.fetch(
            f"explain select id from public.{table} where user_id = '{USER}' order by created_at desc limit 20"
        )
    finally:
        await transaction.rollback()
    plan = "\n".join(row[0] for row in rows)
    assert f"{table}_by_user" in plan
    assert "Sort" not in plan

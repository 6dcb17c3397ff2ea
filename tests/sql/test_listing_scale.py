"""A page of 10,000 images costs what a page of 100 does: buffers touched and rows read, side by side, not the clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from scripts.local.home import Local
from tests.sql.scratch import scratch_database
from tests.sql.world import World, open_connection

FEW, MANY = 100, 10_000
SMALL = "00000000-0000-4000-8000-000000000001"
LARGE = "00000000-0000-4000-8000-000000000002"
PAGE = 24
RATIO = 1.5
"""What a larger tree may cost: a level more of an index."""

# Two outputs an image, of which the first is buried; every hundredth image is in the archive, each tenth in one of
# ten collections. Both users' images lie mixed in the table, as they would.
SEED = f"""
set local session_replication_role = replica;
insert into auth.users (id, email) values ('{SMALL}', 's@example.com'), ('{LARGE}', 'l@example.com');
insert into public.profiles (user_id) select id from auth.users;
insert into public.images (id, user_id, sha256, filename, search, content_type, width, height, size, created_at,
                           archived_at)
  select gen_random_uuid(), u.id, encode(sha256((u.email || n)::bytea), 'hex'), f.name,
         private.search_vector(f.name, null), 'image/jpeg', 40, 30, 1000,
         timestamptz '2026-01-01' + n * interval '1 minute', case when n % 100 = 99 then now() end
  from generate_series(1, {MANY}) n join auth.users u on u.id = '{LARGE}' or n <= {FEW},
    lateral (select case when n = 50 then 'rarity.jpg' else 'photo-' || n || '.jpg' end) as f (name);
insert into public.image_outputs (image_id, user_id, cache_key, input_sha256, input_content_type, input_width,
                                  input_height, input_size, op_key, variant, bucket, path, thumb_path, content_type,
                                  width, height, size, sha256, created_at, version, deleted_at)
  select i.id, i.user_id, sha256((i.id::text || v)::bytea), i.sha256, 'image/jpeg', 40, 30, 1000, 'resize-v1:width-20',
         'full', 'user-library', i.id || '.' || v || '.webp', i.id || '.' || v || '.thumb.webp', 'image/webp', 20, 15,
         500, i.sha256, i.created_at + v * interval '1 second', v, case when v = 1 then now() end
  from public.images i, generate_series(1, 2) v;
insert into public.collections (id, user_id, name)
  select (case u.email when 's@example.com' then '1' else '2' end || '0000000-0000-4000-8000-00000000000' || n)::uuid,
         u.id, 'c' || n
  from auth.users u, generate_series(0, 9) n;
insert into public.collection_items (collection_id, image_id, user_id)
  select (case i.user_id when '{SMALL}' then '1' else '2' end || '0000000-0000-4000-8000-00000000000'
          || extract(minute from i.created_at)::integer % 10)::uuid, i.id, i.user_id
  from public.images i;
"""


@pytest.fixture(scope="module")
async def shelves(local: Local) -> AsyncIterator[World]:
    """A database with the library of one user who keeps little and of one who keeps much, analysed."""
    async with scratch_database(local.database_url) as url:
        connection = await open_connection(url)
        async with connection.transaction():
            await connection.execute(SEED)
        await connection.execute("vacuum analyze")
        yield World(connection)
        await connection.close()


CALL = (
    "select public.list_images(p_user_id => $1, p_limit => $2, p_after => $3, p_after_id => $4, p_archived => $5,"
    " p_op => $6, p_collection_id => $7, p_created_after => null, p_created_before => null, p_query => $8)"
)


async def page(world: World, user_id: str, **wanted: Any) -> list[dict[str, Any]]:
    return list(await world.value(CALL, *_arguments(user_id, **wanted)))


def _arguments(
    user_id: str,
    *,
    after: dict[str, Any] | None = None,
    archived: bool | None = False,
    op: str | None = None,
    collection_id: str | None = None,
    query: str | None = None,
) -> list[Any]:
    place = (datetime.fromisoformat(after["created_at"]), after["image_id"]) if after else (None, None)
    return [user_id, PAGE + 1, *place, archived, op, collection_id, query]


async def buffers(world: World, user_id: str, **wanted: Any) -> int:
    """Pages of 8 KiB that one call touches, once the catalogue is warm."""
    touched = 0
    for _ in range(2):
        rows = await world.connection.fetch(
            f"explain (analyze, buffers, timing off, format json) {CALL}", *_arguments(user_id, **wanted)
        )
        found = rows[0][0]
        plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert touched > PAGE
    return int(touched)


@pytest.mark.parametrize("archived", [False, None], ids=["listed", "all"])
@pytest.mark.parametrize("place", ["first page", "a page in the middle"])
async def test_a_page_of_many_costs_what_one_of_few_does(
    shelves: World, place: str, archived: bool | None
) -> None:
    costs = {}
    for user_id, size in ((SMALL, FEW), (LARGE, MANY)):
        after = None
        if place != "first page":
            row = await shelves.connection.fetchrow(
                "select id::text as image_id, created_at::text from public.images where user_id = $1"
                " order by created_at desc offset $2 limit 1",
                *(user_id, size // 2),
            )
            assert row is not None
            after = dict(row)
        assert len(await page(shelves, user_id, after=after, archived=archived)) == PAGE + 1
        costs[size] = await buffers(shelves, user_id, after=after, archived=archived)
    assert costs[MANY] <= costs[FEW] * RATIO, costs


async def test_the_archive_of_many_is_found_by_its_index(shelves: World) -> None:
    """One in the archive of the one, a hundred in that of the other: each page reads what it shows and no more."""
    assert len(await page(shelves, SMALL, archived=True)) == 1
    found = await page(shelves, LARGE, archived=True)
    assert len(found) == PAGE + 1
    each = await buffers(shelves, LARGE) / (PAGE + 1)
    assert await buffers(shelves, LARGE, archived=True) <= (PAGE + 1) * each * RATIO


FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "listed": ({}, {"images_listed"}),
    "all": ({"archived": None}, {"images_by_user"}),
    "archive": ({"archived": True}, {"images_archived"}),
    "op": ({"op": "resize"}, {"images_listed"}),
    "word": ({"query": "rarity"}, {"images_search"}),
    "inside a word": ({"query": "arit"}, {"images_search"}),
    "collection": (
        {"collection_id": "20000000-0000-4000-8000-000000000000"},
        {"collection_items_pkey"},
    ),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_a_list_reads_from_indexes_alone(shelves: World, name: str) -> None:
    """The function itself runs; Postgres counts which indexes it scanned and what it read from end to end."""
    wanted, indexes = FILTERS[name]
    counters = [*indexes, "images", "image_outputs"]
    transaction = shelves.connection.transaction()
    await transaction.start()
    try:
        before = {counter: await _scans(shelves, counter) for counter in counters}
        assert await page(shelves, LARGE, **wanted)
        after = {counter: await _scans(shelves, counter) for counter in counters}
    finally:
        await transaction.rollback()
    assert [counter for counter in counters[:-2] if after[counter] == before[counter]] == []
    assert [counter for counter in counters[-2:] if after[counter] != before[counter]] == []


async def _scans(world: World, relation: str) -> int:
    sql = "select pg_stat_get_xact_numscans($1::text::regclass)"
    return int(await world.value(sql, f"public.{relation}"))


async def test_explain_of_a_page_as_supabase_js_asks_for_it(shelves: World) -> None:
    """Under RLS, with `.eq('user_id', …)`: from the index in its order, no sort, and no more rows than the page has."""
    transaction = shelves.connection.transaction()
    await transaction.start()
    try:
        await shelves.value("select set_config('request.jwt.claim.sub', $1, true)", LARGE)
        await shelves.connection.execute("set local role authenticated")
        rows = await shelves.connection.fetch(
            "explain (analyze, timing off, summary off) select id from public.images"
            f" where user_id = '{LARGE}' and archived_at is null order by created_at desc, id desc limit {PAGE}"
        )
    finally:
        await transaction.rollback()
    plan = "\n".join(row[0] for row in rows)
    assert "images_listed" in plan
    assert "Sort" not in plan
    assert f"rows={PAGE}" in plan
    assert "Seq Scan on images" not in plan

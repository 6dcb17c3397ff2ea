"""Deletions and exports in SQL: no table can be forgotten, a lease is needed for everything, money adds up."""

from __future__ import annotations

import json
import secrets
import uuid
from typing import Any

import pytest

from service.jobs.errors import worker_lost
from service.platform.errors import problem
from tests.races.order import begin_behind, refused
from tests.sql.fixtures import Opener
from tests.sql.world import World

PERSONAL = "select name, treatment, owner, page_key, hidden from public.personal_tables()"
TABLES = "c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"


async def _claimed(world: World, user: uuid.UUID, kind: str = "delete", **options: Any) -> dict[str, Any]:
    """A request under lease: {p_request_id, p_lease_token}."""
    queue = secrets.token_hex(6)
    if kind == "delete":
        await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue=queue)
    else:
        await world.call("request_export", p_user_id=user, p_queue=queue, p_fresh_seconds=None)
    row = await world.call("claim_request", p_queue=queue, p_worker="w", p_lease_seconds=30.0)
    return {"p_request_id": row["id"], "p_lease_token": row["lease_token"]}


async def test_every_table_that_can_name_a_user_is_deleted_and_exported(world: World) -> None:
    """By a column that users are named in, or by a foreign key to them."""
    found = await world.connection.fetch(
        f"select c.relname as name, a.attname as owner from pg_class c join pg_attribute a on a.attrelid = c.oid"
        f" where {TABLES} and a.attnum > 0 and not a.attisdropped and a.attgenerated::text = ''"
        " and (a.atttypid = 'uuid'::regtype and a.attname in ('user_id', 'actor', 'owner', 'owner_id', 'created_by')"
        "      or exists (select 1 from pg_constraint k where k.contype = 'f' and k.conrelid = c.oid"
        "                 and k.confrelid = 'auth.users'::regclass and a.attnum = any (k.conkey)))"
    )
    personal = await world.connection.fetch(PERSONAL)
    assert {(row["name"], row["owner"]) for row in found} == {(row["name"], row["owner"]) for row in personal}


async def test_what_names_no_user_goes_with_what_does(world: World) -> None:
    """Children of personal tables that have no owner of their own: their keys cascade."""
    rows = await world.connection.fetch(
        f"select c.relname as name, k.confdeltype::text as on_delete from pg_constraint k"
        f" join pg_class c on c.oid = k.conrelid where {TABLES} and k.contype = 'f'"
        " and k.confrelid::regclass::text in (select name from public.personal_tables())"
        " and c.relname not in (select name from public.personal_tables())"
    )
    assert {row["name"] for row in rows} >= {"share_secrets"}
    assert {row["on_delete"] for row in rows} == {"c"}


async def test_hidden_columns_and_page_keys_exist(world: World) -> None:
    for row in await world.connection.fetch(PERSONAL):
        table = f"public.{row['name']}"
        columns = await world.connection.fetch(
            "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0", table
        )
        assert set(row["hidden"]) <= {column["attname"] for column in columns}, table
        await world.connection.fetch(f"select {row['page_key']}, {row['owner']} from {table} limit 1")


async def test_new_rows_are_refused_everywhere_while_a_deletion_runs(world: World) -> None:
    guarded = await world.connection.fetch(
        "select tgrelid::regclass::text as name from pg_trigger where tgname = 'refuse_during_deletion'"
    )
    personal = await world.connection.fetch(PERSONAL)
    wanted = {row["name"] for row in personal if row["treatment"] in {"delete", "job", "image"}}
    assert {row["name"] for row in guarded} == wanted - {"job_events"}


async def test_a_deletion_waits_for_the_intake_that_holds_its_user(world: World) -> None:
    user = await world.user()
    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue="nobody")
    with refused("data_deletion_running"):
        await world.intake(user)
    theirs = await world.done()
    with refused("data_deletion_running"):
        await world.adopt(user, theirs["output"]["output_id"])
    assert not await world.value("select count(*) from public.images where user_id = $1", user)


WITH_LEASE: dict[str, dict[str, Any]] = {
    "heartbeat_request": {"p_lease_seconds": 30.0, "p_progress": 0.5, "p_step": "x"},
    "snooze_request": {"p_seconds": 0.0},
    "fail_request": {"p_error": "{}", "p_seconds": 0.0},
    "wipe_batch": {"p_limit": 10},
    "wipe_objects": {"p_bucket": "user-library", "p_paths": []},
    "request_tombstones": {"p_limit": 10},
    "wipe_money": {},
    "close_account": {},
    "finish_deletion": {"p_account": "kept", "p_receipt_seconds": 60},
    "export_page": {"p_table": "jobs", "p_after": None, "p_limit": 10},
    "export_originals": {"p_image_ids": []},
    "finish_export": {"p_path": "x", "p_size": 1, "p_receipt": "{}", "p_keep_seconds": 60},
}


@pytest.mark.parametrize("function", WITH_LEASE)
async def test_a_lost_lease_does_nothing(world: World, function: str) -> None:
    lease = await _claimed(world, await world.user())
    stale = lease | {"p_lease_token": uuid.uuid4()}
    with refused("lease_lost"):
        await world.call(function, **stale, **WITH_LEASE[function])


async def test_a_dead_workers_request_is_taken_over_until_attempts_run_out(world: World) -> None:
    queue, user = secrets.token_hex(6), await world.user()
    claim = {"p_queue": queue, "p_worker": "w", "p_lease_seconds": 30.0}
    request = await world.call("request_export", p_user_id=user, p_queue=queue, p_fresh_seconds=None)
    seen = set()
    for attempt in range(1, 6):
        row = await world.call("claim_request", **claim)
        assert (row["attempt"], row["id"]) == (attempt, request["request_id"])
        seen.add(row["lease_token"])
        assert await world.call("claim_request", **claim) is None
        await world.late("lease_expires_at", row["id"], "data_requests")
        assert (await world.sweep())["due"][queue] == 1
    assert len(seen) == 5
    assert await world.call("claim_request", **claim) is None
    ended = await world.call("get_request", p_request_id=row["id"], p_user_id=user)
    assert ended["status"] == "error"
    told = problem(worker_lost, "Every worker that took this died; ask again.")
    assert ended["error"] == told.model_dump(mode="json", exclude_none=True)
    again = await world.call("request_export", p_user_id=user, p_queue=queue, p_fresh_seconds=60)
    assert again["request_id"] != request["request_id"]


async def test_objects_of_others_cannot_be_wiped(world: World) -> None:
    lease = await _claimed(world, await world.user())
    for bucket, path in (("user-library", f"{uuid.uuid4()}/x.webp"), ("outputs-ephemeral", "x.webp")):
        with refused("forbidden"):
            await world.call("wipe_objects", **lease, p_bucket=bucket, p_paths=[path])


async def test_a_deletion_cannot_finish_with_something_open(world: World) -> None:
    user = await world.user()
    lease = await _claimed(world, user)
    with refused("conflict"):  # the money was not seen to
        await world.call("finish_deletion", **lease, p_account="kept", p_receipt_seconds=60)
    await world.put(f"{user}/x.webp", "user-library")
    await world.call("wipe_objects", **lease, p_bucket="user-library", p_paths=[f"{user}/x.webp"])
    await world.call("wipe_money", **lease)
    with refused("conflict"):  # an object is still there
        await world.call("finish_deletion", **lease, p_account="kept", p_receipt_seconds=60)


async def test_money_moves_to_a_pseudonym_once(world: World) -> None:
    user = await world.user(balance=30)
    await world.complete(await world.running(user, price=7))
    lease = await _claimed(world, user)
    while not (await world.call("wipe_batch", **lease, p_limit=2))["done"]:
        pass
    for _ in range(2):
        await world.call("wipe_money", **lease)
    rows = await world.connection.fetch(
        "select delta, reason from public.credit_ledger where user_id = $1", user
    )
    assert [tuple(row) for row in rows] == [(23, "opening")]
    assert await world.balance(user) == 23


async def test_a_purchase_told_again_after_a_deletion_is_not_granted_twice(world: World) -> None:
    user, reference = await world.user(), secrets.token_hex(8)
    assert await world.grant(user, 50, "purchase", reference) is True
    lease = await _claimed(world, user)
    await world.call("wipe_money", **lease)
    before = await world.balance(user)
    assert await world.grant(user, 50, "purchase", reference) is False
    assert await world.balance(user) == before


async def test_an_account_deleted_by_any_way_leaves_its_money_records_nameless(world: World) -> None:
    """By the Auth API or in the dashboard, that is: by a delete of its row."""
    user = await world.user(balance=30)
    await world.complete(await world.running(user, price=7))
    lines = "select count(*) from public.credit_ledger where reference = 'signup'"
    before = await world.value(lines)
    await world.connection.execute("delete from auth.users where id = $1", user)
    assert await world.value(lines) == before
    for table in ("credit_ledger", "credit_grants", "credit_uses", "audit_log"):
        assert not await world.value(
            f"select count(*) from public.{table} t where strpos(t::text, $1) > 0", str(user)
        )


async def test_pages_of_an_export_give_each_row_once(world: World) -> None:
    user, other = await world.user(), await world.user()
    for who in (user, user, user, other):
        await world.done(who)
    lease = await _claimed(world, user, "export")
    for table in [row["name"] for row in await world.connection.fetch(PERSONAL)]:
        rows, after = [], None
        while True:
            page = await world.call("export_page", **lease, p_table=table, p_after=after, p_limit=2)
            assert len(page["rows"]) <= 2
            rows += [json.dumps(row, sort_keys=True) for row in page["rows"]]
            if (after := page["next"]) is None:
                break
        owner = {"audit_log": "actor", "storage_usage": "owner_id", "storage_changes": "owner_id"}.get(
            table, "user_id"
        )
        count = await world.value(f"select count(*) from public.{table} where {owner} = $1", user)
        assert len(rows) == len(set(rows)) == count, table
        assert str(other) not in "".join(rows)


async def test_receipts_of_a_deleted_account_name_nobody(world: World) -> None:
    """Also when the account goes later, in another way; the id of the request is enough then, and only then."""
    user = await world.user()
    lease = await _claimed(world, user)
    while not (await world.call("wipe_batch", **lease, p_limit=10))["done"]:
        pass
    await world.call("wipe_money", **lease)
    await world.call("finish_deletion", **lease, p_account="kept", p_receipt_seconds=60)
    get = {"p_request_id": lease["p_request_id"], "p_user_id": None}
    assert await world.call("get_request", **get) is None
    await world.connection.execute("delete from auth.users where id = $1", user)
    assert (await world.call("get_request", **get))["status"] == "done"
    assert not await world.value("select count(*) from public.data_requests where user_id = $1", user)


async def test_asking_again_does_not_wait_for_what_the_worker_holds_in_a_circle(
    world: World, open_world: Opener
) -> None:
    """The worker has locked the request and wants the user; a second DELETE comes in between."""
    user = await world.user()
    await world.done(user)
    queue = secrets.token_hex(6)
    asked = {"p_user_id": user, "p_delete_account": False, "p_queue": queue}
    request = await world.call("request_deletion", **asked)
    row = await world.call("claim_request", p_queue=queue, p_worker="w", p_lease_seconds=30.0)
    lease = {"p_request_id": row["id"], "p_lease_token": row["lease_token"]}
    other = await open_world()
    async with world.connection.transaction():
        await world.value("select (private.leased_request($1, $2)).id", *lease.values())
        again = await begin_behind(
            world, other, other.call("request_deletion", **asked | {"p_delete_account": True})
        )
        while not (await world.call("wipe_batch", **lease, p_limit=10))["done"]:
            pass  # wants the user, too
    assert (await again)["request_id"] == request["request_id"]

"""Row level security as a table: role x table x verb, over every table there is, refusals included.

Columns as well: which of them each role reads stands in columns.py. Each table gets rows of an owner, and where it can
hold them, rows of nobody; a role then tries every verb. The same cells are asked twice: in SQL, as the role with its
claims, and over PostgREST with real keys and tokens.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from scripts.local.home import Local
from tests.sql.columns import NOBODY, SERVICE, USERS
from tests.sql.world import Connection, Document, World, open_connection
from tests.support import User, new_sha256, sign_up

Role = str
ROLES: tuple[Role, ...] = ("anon", "stranger", "owner", "service")
VERBS = ("insert", "update", "delete")

EVERY = "every row"
OWN = "the owner's rows"
NONE = "none of the owner's rows"
DENIED = "denied"

#                     anon    stranger owner service
READS: dict[str, tuple[str, str, str, str]] = {
    "plans": (EVERY, EVERY, EVERY, EVERY),
    "profiles": (DENIED, NONE, OWN, EVERY),
    "credits": (DENIED, NONE, OWN, EVERY),
    "credit_ledger": (DENIED, NONE, OWN, EVERY),
    "credit_grants": (DENIED, NONE, OWN, EVERY),
    "credit_uses": (DENIED, NONE, OWN, EVERY),
    "images": (DENIED, NONE, OWN, EVERY),
    "image_outputs": (DENIED, NONE, OWN, EVERY),
    "collections": (DENIED, NONE, OWN, EVERY),
    "collection_items": (DENIED, NONE, OWN, EVERY),
    "jobs": (DENIED, NONE, OWN, EVERY),
    "job_events": (DENIED, NONE, OWN, EVERY),
    "share_links": (DENIED, NONE, OWN, EVERY),
    "share_secrets": (DENIED, DENIED, DENIED, EVERY),
    "tombstones": (DENIED, DENIED, DENIED, EVERY),
    "input_documents": (DENIED, DENIED, DENIED, EVERY),
    "write_probe": (DENIED, DENIED, DENIED, EVERY),
    "task_leases": (DENIED, DENIED, DENIED, EVERY),
    "byte_checks": (DENIED, DENIED, DENIED, EVERY),
    "blocked_hashes": (DENIED, DENIED, DENIED, EVERY),
    "teams": (DENIED, NONE, OWN, EVERY),
    "team_members": (DENIED, NONE, OWN, EVERY),
    "team_invitations": (DENIED, DENIED, DENIED, EVERY),
    "audit_log": (DENIED, DENIED, DENIED, EVERY),
    "data_requests": (DENIED, DENIED, DENIED, EVERY),
    "usage_daily": (DENIED, NONE, OWN, EVERY),
    "storage_usage": (DENIED, NONE, OWN, EVERY),
    "storage_changes": (DENIED, DENIED, DENIED, EVERY),
    "usage_folds": (DENIED, DENIED, DENIED, EVERY),
    "address_usage": (DENIED, DENIED, DENIED, EVERY),
    "op_prices": (DENIED, DENIED, DENIED, EVERY),
    "op_costs": (DENIED, DENIED, DENIED, EVERY),
    "lanes": (DENIED, DENIED, DENIED, EVERY),
    "idempotency_keys": (DENIED, DENIED, DENIED, EVERY),
    "queues": (DENIED, DENIED, DENIED, EVERY),
    "queue_counts": (DENIED, DENIED, DENIED, EVERY),
    "api_keys": (DENIED, NONE, OWN, EVERY),
    "api_key_secrets": (DENIED, DENIED, DENIED, EVERY),
    "api_key_spending": (DENIED, DENIED, DENIED, EVERY),
    "subscriptions": (DENIED, NONE, OWN, EVERY),
    "stripe_customers": (DENIED, DENIED, DENIED, EVERY),
    "stripe_closures": (DENIED, DENIED, DENIED, EVERY),
    "stripe_prices": (DENIED, DENIED, DENIED, EVERY),
    "stripe_reversals": (DENIED, DENIED, DENIED, EVERY),
    "stripe_events": (DENIED, DENIED, DENIED, EVERY),
    "credit_packs": (DENIED, DENIED, DENIED, EVERY),
    "admins": (DENIED, DENIED, DENIED, EVERY),
    "moderation_reviews": (DENIED, DENIED, DENIED, EVERY),
    "abuse_signals": (DENIED, DENIED, DENIED, EVERY),
    "signup_secret": (DENIED, DENIED, DENIED, DENIED),
    "signup_addresses": (DENIED, DENIED, DENIED, DENIED),
    "deleted_usage": (DENIED, DENIED, DENIED, DENIED),
    "deleted_accounts": (DENIED, DENIED, DENIED, DENIED),
}
"""Who reads what. Nobody writes anything: every change is a function."""
OWNED_BY = {
    "audit_log": "actor",
    "storage_usage": "owner_id",
    "storage_changes": "owner_id",
    "teams": "(select m.user_id from public.team_members m where m.team_id = t.id and m.role = 'owner')",
}
"""The owner's column, or how to find the owner, where it is not user_id."""
WITH_ACCOUNT = {"profiles", "credits", "credit_ledger", "credit_grants", "credit_uses"}
"""Tables that have rows of every user."""
WITHOUT_OWNER = {
    "plans": "id",
    "tombstones": "bucket",
    "write_probe": "id",
    "task_leases": "task",
    "byte_checks": "kind",
    "blocked_hashes": "sha256",
    "share_secrets": "password_hash",
    "usage_folds": "id",
    "op_prices": "op",
    "op_costs": "op",
    "queues": "queue",
    "queue_counts": "queue",
    "api_key_secrets": "prefix",
    "api_key_spending": "key_id",
    "stripe_closures": "customer_id",
    "stripe_prices": "price_id",
    "stripe_events": "type",
    "credit_packs": "id",
    "moderation_reviews": "reason",
    "teams": "name",
    "team_invitations": "email",
    "signup_secret": "secret",
    "signup_addresses": "digest",
    "deleted_usage": "digest",
    "deleted_accounts": "id",
}
"""Tables without an owner's column, each with a text column to try a write with."""


VIEWS = {"abuse_signals"}
"""Views that cannot be written at all, which is found out before anybody's rights are."""
REFUSED = {401, 403}
UNKNOWN = REFUSED | {404}
"""A table that the service role cannot read, either, is not in the schema of the local PostgREST."""
NOBODY_WRITES = asyncpg.ObjectNotInPrerequisiteStateError


def cells() -> list[tuple[str, Role, str]]:
    return [(table, role, READS[table][index]) for table in READS for index, role in enumerate(ROLES)]


@dataclass(frozen=True)
class Scene:
    """Two users, rows of the first and of nobody in the shared database, and a superuser to look at them with."""

    local: Local
    world: World
    owner: User
    stranger: User

    def headers(self, role: Role) -> dict[str, str]:
        """Keys and token of a role, as the official clients send them."""
        match role:
            case "anon":
                return {"apikey": self.local.publishable_key}
            case "service":
                return {"apikey": self.local.secret_key}
            case _:
                user = self.owner if role == "owner" else self.stranger
                return {"apikey": self.local.publishable_key} | user.bearer

    async def become(self, role: Role) -> None:
        """Take a role and its claims until the end of the transaction, as PostgREST does for a request."""
        name = {"anon": "anon", "service": "service_role"}.get(role, "authenticated")
        user = {"owner": self.owner, "stranger": self.stranger}.get(role)
        claims = {"role": name} | ({"sub": str(user.id)} if user else {})
        for setting, value in (
            ("request.jwt.claims", json.dumps(claims)),
            ("request.jwt.claim.sub", claims.get("sub", "")),
            ("request.jwt.claim.role", name),
        ):
            await self.world.value("select set_config($1, $2, true)", setting, value)
        await self.world.connection.execute(f"set local role {name}")

    async def expected(self, table: str, role: Role, outcome: str) -> set[str]:
        """The rows that an outcome means, as text of all that the role reads of them, among those of this scene."""
        if outcome in {NONE, DENIED}:
            return set()
        rows = await self.world.connection.fetch(
            f"select {_row(table, role)} as row, {_owner(table)} as owner from public.{table} t"
        )
        return {row["row"] for row in rows if outcome == EVERY or row["owner"] == self.owner.id}


def _columns(table: str, role: Role) -> list[str]:
    """What a role reads of a table."""
    if role == "anon" and table != "plans":
        return []
    return [*USERS.get(table, "").split(), *(SERVICE.get(table, "").split() if role == "service" else [])]


def _row(table: str, role: Role) -> str:
    return f"row({', '.join(f't.{column}' for column in _columns(table, role))})::text"


def _owner(table: str) -> str:
    return OWNED_BY.get(table, "null::uuid" if table in WITHOUT_OWNER else "user_id")


@pytest.fixture(scope="module")
async def scene(local: Local) -> AsyncIterator[Scene]:
    connection: Connection = await open_connection(local.database_url)
    world = World(connection)
    scene = Scene(local, world, await sign_up(local), await sign_up(local))
    # A worker on the same stack would settle the changes of storage that are looked at here.
    await world.value("select pg_advisory_lock(hashtext('darkroom.storage'))")
    for who in (scene.owner.id, None):
        await _rows(world, who)
    yield scene
    await connection.close()


async def _rows(world: World, user_id: uuid.UUID | None) -> None:
    """A row in every table that a finished, a canceled and a buried job leave."""
    done = await world.done(user_id)
    await world.cancel((await world.intake(user_id))["job"]["job_id"], user_id)
    buried = await world.done(user_id)
    await world.call("bury_output", p_output_id=buried["output"]["output_id"], p_reason="test")
    assert done["output"] is not None
    strokes = json.dumps({"kind": "strokes", "strokes": []})
    await world.call("keep_input", p_user_id=user_id, p_digest=new_sha256(), p_kind="strokes", p_body=strokes)
    await world.call("block_hash", p_sha256=new_sha256(), p_category="test", p_reason="", p_by="test")
    await world.call("lease_task", p_task="test", p_token=uuid.uuid4(), p_seconds=0.0)
    await world.call(
        "reserve_idempotency_key",
        p_key_digest=new_sha256(),
        p_user_id=user_id,
        p_request_digest=new_sha256(),
        p_lease_seconds=60.0,
        p_keep_seconds=3600,
    )
    if user_id is not None:
        await world.share(done["output"]["output_id"], user_id)
        await world.call("request_export", p_user_id=user_id, p_queue=uuid.uuid4().hex, p_fresh_seconds=None)
        await _collect(world, user_id)
        await _use(world, user_id)
        await _give_a_key(world, user_id)
        await _bill(world, user_id)
        await _administrate(world, user_id)
        await _invite(world, user_id)


async def _invite(world: World, user_id: uuid.UUID) -> None:
    """A team, and somebody invited to it."""
    await world.value("update public.profiles set plan_id = 'pro' where user_id = $1", user_id)
    team = await world.call("create_team", p_user_id=user_id, p_name="Shop")
    whom = {"p_email": f"{uuid.uuid4().hex}@example.com", "p_role": "viewer"}
    await world.call("create_invitation", p_team_id=team["team_id"], p_user_id=user_id, **whom)


async def _administrate(world: World, user_id: uuid.UUID) -> None:
    """An operator's role and a decision about a refused job: their owner sees none of it, either."""
    by = {"p_by": "cli:test", "p_reason": "test"}
    await world.call("grant_admin", p_who=str(user_id), p_role="support", **by)
    job = await world.running(user_id)
    await world.fail(job, code="refused")
    await world.call("review_refused", p_job_id=job["id"], p_decision="keep", p_actor=None, **by)


async def _bill(world: World, user_id: uuid.UUID) -> None:
    """A customer with a subscription and a refund, the inbox, and somebody whose account is gone."""
    gone, tag = await world.user(), uuid.uuid4().hex
    for who in (user_id, gone):
        await world.call("keep_stripe_customer", p_user_id=who, p_customer_id=f"cus_{who.hex}")
    await world.connection.execute("delete from auth.users where id = $1", gone)
    event = {
        "id": f"evt_{tag}",
        "type": "test",
        "object_type": "x",
        "object_id": "x",
        "occurred_at": 0,
        "ours": False,
    }
    await world.call("receive_stripe_events", p_events=json.dumps([event]))
    await world.connection.execute(
        f"insert into public.stripe_prices (price_id, plan_id, amount, currency, active)"
        f" values ('price_{tag}', 'pro', 1, 'usd', false)"
    )
    await world.connection.execute(
        f"insert into public.stripe_reversals (id, user_id, kind, source, reference, amount, credits, created_at)"
        f" values ('re_{tag}', $1, 'refund', 'purchase', 'cs_{tag}', 1, 0, now())",
        user_id,
    )
    await world.connection.execute(
        f"insert into public.subscriptions (id, user_id, customer_id, plan_id, price_id, status, current_period_start,"
        f" current_period_end, entitled, ticket, created_at)"
        f" values ('sub_{tag}', $1, 'cus_{user_id.hex}', 'pro', 'price_{tag}', 'canceled', now(), now(), false, 1,"
        " now())",
        user_id,
    )


async def _use(world: World, user_id: uuid.UUID) -> None:
    """Bytes, settled and not, a job from an address, a batch of counts, a price."""
    await world.call("settle_storage", p_limit=1000)
    await world.done(user_id)
    await world.intake(user_id, ip=uuid.uuid4().hex)
    await world.call("fold_usage", p_batch=uuid.uuid4().hex, p_counts="[]")
    await world.connection.execute(
        "insert into public.op_prices (op, price) values ('test', 0) on conflict do nothing"
    )
    await world.connection.execute(
        "insert into public.queues (queue) values ('paused') on conflict do nothing"
    )


async def _give_a_key(world: World, user_id: uuid.UUID) -> None:
    """An API key that has spent something."""
    key = await world.api_key(user_id)
    await world.call("private.spend_on_key", p_key_id=uuid.UUID(key["key_id"]), p_credits=3)


async def _collect(world: World, user_id: uuid.UUID) -> None:
    """A collection with an image in it."""
    collection = await world.call("create_collection", p_user_id=user_id, p_name="Mugs", p_parent_id=None)
    images = await world.connection.fetch("select id from public.images where user_id = $1", user_id)
    await world.call(
        "change_images",
        p_user_id=user_id,
        p_image_ids=[row["id"] for row in images],
        p_action="add",
        p_collection_id=collection["collection_id"],
    )


async def test_every_table_has_its_line(world: World) -> None:
    rows = await world.connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')"
    )
    assert {row["relname"] for row in rows} == set(READS)


@pytest.mark.parametrize(("table", "role", "outcome"), cells())
async def test_reading_in_sql(scene: Scene, table: str, role: Role, outcome: str) -> None:
    transaction = scene.world.connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        expected = await scene.expected(table, role, outcome)
        if table == "image_outputs" and role == "owner":
            dead = f"select {_row(table, role)} from public.image_outputs t where deleted_at is not null"
            expected -= {row[0] for row in await scene.world.connection.fetch(dead)}
        assert expected or outcome in {NONE, DENIED}
        await scene.become(role)
        if outcome == DENIED:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await scene.world.connection.fetch(f"select * from public.{table}")
            return
        rows = await scene.world.connection.fetch(f"select {_row(table, role)} from public.{table} t")
        if outcome == NONE:  # a stranger has an account, too
            rows = [row for row in rows if str(scene.stranger.id) not in row[0]]
        assert {row[0] for row in rows} == expected
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("role", ROLES)
async def test_writing_in_sql_is_denied(scene: Scene, role: Role, verb: str) -> None:
    for table in READS:
        column = await scene.world.value(
            "select attname from pg_attribute"
            " where attrelid = $1::text::regclass and attnum > 0 and attidentity::text = '' order by attnum limit 1",
            f"public.{table}",
        )
        statement = {
            "insert": f"insert into public.{table} default values",
            "update": f"update public.{table} set {column} = {column}",
            "delete": f"delete from public.{table}",
        }[verb]
        transaction = scene.world.connection.transaction()
        await transaction.start()
        try:
            await scene.become(role)
            with pytest.raises(
                NOBODY_WRITES if table in VIEWS else asyncpg.InsufficientPrivilegeError, match=table
            ):
                await scene.world.connection.execute(statement)
        finally:
            await transaction.rollback()


@pytest.mark.parametrize("role", ROLES)
async def test_reading_and_writing_over_postgrest(scene: Scene, role: Role) -> None:
    """Every table: what comes back belongs to whom it should, and a write is refused and changes nothing."""
    async with httpx.AsyncClient(
        base_url=f"{scene.local.supabase_url}/rest/v1", headers=scene.headers(role), trust_env=False
    ) as client:
        for table in READS:
            outcome = READS[table][ROLES.index(role)]
            columns = ",".join(_columns(table, role)) or "*"
            answer = await client.get(f"/{table}", params={"select": columns, "limit": "1000"})
            if outcome == DENIED:
                assert answer.status_code in (UNKNOWN if table in NOBODY else REFUSED), (table, answer.text)
            else:
                _check_owner(scene, table, outcome, answer)
            column = WITHOUT_OWNER.get(table)
            body = {column or _owner(table): str(scene.owner.id)}
            refusal = await client.post(f"/{table}", json=body)
            if table in VIEWS:
                assert "cannot insert into view" in refusal.text, (table, refusal.status_code, refusal.text)
            else:
                allowed = UNKNOWN if table in NOBODY else REFUSED
                assert refusal.status_code in allowed, (table, refusal.status_code, refusal.text)
    assert (
        await scene.world.value("select count(*) from public.credits where user_id = $1", scene.owner.id) == 1
    )


def _check_owner(scene: Scene, table: str, outcome: str, answer: httpx.Response) -> None:
    assert answer.status_code == 200, (table, answer.text)
    rows: list[Document] = answer.json()
    if outcome == NONE and table in WITH_ACCOUNT:
        assert {row[_owner(table)] for row in rows} == {str(scene.stranger.id)}, table
    elif outcome == NONE:
        assert rows == [], table
    elif table == "teams" and outcome == OWN:
        assert [row["name"] for row in rows] == ["Shop"]
    elif outcome == OWN:
        assert {row[_owner(table)] for row in rows} == {str(scene.owner.id)}, table
        assert not any(row.get("deleted_at") for row in rows)
    else:
        assert rows, table


async def test_each_column_is_read_by_those_listed_only(world: World) -> None:
    """A new column is closed to users until it is listed in columns.py and in readable_columns()."""
    rows = await world.connection.fetch(
        "select c.relname as table, a.attname as column, r.role,"
        " has_column_privilege(r.role, c.oid, a.attnum, 'SELECT') as reads"
        " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped,"
        " unnest(array['anon', 'authenticated', 'service_role']) r (role)"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')"
    )
    every = {(row["table"], row["column"]) for row in rows}
    users = {(table, column) for table, columns in USERS.items() for column in columns.split()}
    service = {(table, column) for table, columns in SERVICE.items() for column in columns.split()}
    nobody = {(table, column) for table, columns in NOBODY.items() for column in columns.split()}
    assert every == users | service | nobody
    reads = {
        role: {(row["table"], row["column"]) for row in rows if row["role"] == role and row["reads"]}
        for role in ("anon", "authenticated", "service_role")
    }
    assert reads["anon"] == {(table, column) for table, column in users if table == "plans"}
    assert reads["authenticated"] == users
    assert reads["service_role"] == users | service


async def test_users_do_not_read_what_is_for_operators_and_workers(scene: Scene) -> None:
    """Not even of their own rows: a reason of an operator, a lease, an address."""
    asked = {
        "profiles": ("flag_reason", "flagged_at", "suspend_reason"),
        "jobs": ("lease_token", "worker", "address", "request_id", "cache_key"),
        "subscriptions": ("customer_id",),
    }
    async with httpx.AsyncClient(
        base_url=f"{scene.local.supabase_url}/rest/v1", headers=scene.headers("owner"), trust_env=False
    ) as client:
        for table, columns in asked.items():
            for column in columns:
                answer = await client.get(f"/{table}", params={"select": column})
                assert (answer.status_code, answer.json()["code"]) == (403, "42501"), (table, column)
                ordered = await client.get(f"/{table}", params={"select": "user_id", "order": column})
                assert ordered.status_code == 403, (table, column)


async def test_a_suspended_account_reads_nothing(world: World) -> None:
    """On any table that users read, plans left aside: suspended, banned or deleted in Auth."""
    user = await world.user()
    for blocked in (
        "update public.profiles set suspended_at = now() where user_id = $1",
        "update auth.users set banned_until = now() + interval '1 day' where id = $1",
        "update auth.users set deleted_at = now() where id = $1",
    ):
        for table in USERS:
            transaction = world.connection.transaction()
            await transaction.start()
            try:
                seen = f"select count(*) from public.{table}"
                await world.value(
                    "select set_config('request.jwt.claims', $1, true)", json.dumps({"sub": str(user)})
                )
                await world.value("select set_config('request.jwt.claim.sub', $1, true)", str(user))
                await world.connection.execute("set local role authenticated")
                before = await world.value(seen)
                await world.connection.execute("reset role")
                await world.connection.execute(blocked, user)
                await world.connection.execute("set local role authenticated")
                after = await world.value(seen)
                if table == "plans":
                    assert after == before > 0
                else:
                    assert after == 0, (table, blocked)
                if table in WITH_ACCOUNT:
                    assert before > 0, table
            finally:
                await transaction.rollback()


async def test_every_table_that_users_read_asks_for_an_account_in_use(world: World) -> None:
    rows = await world.connection.fetch(
        "select tablename from pg_policies where schemaname = 'public' and policyname = 'active_account'"
        " and permissive = 'RESTRICTIVE' and cmd = 'SELECT' and roles = '{authenticated}'"
    )
    assert {row["tablename"] for row in rows} == set(USERS) - {"plans", "profiles"}


@pytest.mark.parametrize("role", ["anon", "stranger", "owner"])
async def test_no_function_can_be_called_by_users(scene: Scene, role: Role) -> None:
    """Not even for their own account: credits, leases and other people's jobs are arguments of these functions."""
    async with httpx.AsyncClient(
        base_url=f"{scene.local.supabase_url}/rest/v1/rpc", headers=scene.headers(role), trust_env=False
    ) as client:
        grant = {
            "p_user_id": str(scene.owner.id),
            "p_amount": 5,
            "p_source": "purchase",
            "p_reference": "free",
        }
        refusals = [
            await client.post("/grant_credits", json=grant),
            await client.post("/sweep", json={}),
            await client.post(
                "/claim_next", json={"p_queue": "default", "p_worker": "me", "p_lease_seconds": 60}
            ),
            await client.post(
                "/get_job", json={"p_job_id": str(uuid.uuid4()), "p_user_id": str(scene.owner.id)}
            ),
        ]
    assert {answer.status_code for answer in refusals} <= {401, 403, 404}
    bought = "select count(*) from public.credit_ledger where user_id = $1 and reason = 'purchase'"
    assert await scene.world.value(bought, scene.owner.id) == 0

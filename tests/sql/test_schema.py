"""The schema as deployed: it is what functions/ and policies/ say, and nobody may do more than is listed here."""

from __future__ import annotations

import difflib
import os
import re

import pytest

from scripts.local.check import TYPES
from scripts.local.home import REPOSITORY, Local
from scripts.local.migrate import supabase
from scripts.local.stack import HOSTED_LOCALE
from tests.sql.scratch import dump_schema
from tests.sql.world import World

SUPABASE = REPOSITORY / "supabase"
CALLABLE_BY_USERS: set[str] = set()
"""Functions that anon, authenticated or PUBLIC may execute: none. Users go through the API."""
CALLABLE_BY_SERVICE = {
    *("account_state", "end_blocked_jobs", "admin_suspend"),
    *(
        "intake",
        "intake_batch",
        "adopt_output",
        "mark_uploaded",
        "cancel_job",
        "get_job",
        "get_job_events",
        "queue_position",
    ),
    *(
        "claim_next",
        "heartbeat",
        "snooze",
        "cached_output",
        "complete_from_cache",
        "complete_job",
        "fail_job",
    ),
    *(
        "sweep",
        "queue_stats",
        "lease_task",
        "expire_due",
        "due_tombstones",
        "confirm_purged",
        "entomb_orphans",
    ),
    *("bury_missing", "bury_output", "cache_key", "probe_write", "check_invariants", "next_byte_checks"),
    *("grant_credits", "claw_back", "take_credits", "refund_job", "expire_grants", "get_credits"),
    "credit_history",
    *("delete_image", "delete_output", "get_output", "restore_output", "keep_output", "get_image_source"),
    *("get_profile", "set_profile", "find_promotable", "promote_output", "due_originals", "record_original"),
    "lose_original",
    *("find_claimable", "claim_jobs", "recently_buried"),
    *("request_deletion", "request_export", "get_request", "claim_request", "heartbeat_request"),
    *("snooze_request", "fail_request", "wipe_batch", "wipe_objects", "request_tombstones", "wipe_money"),
    *("close_account", "finish_deletion", "personal_tables", "export_page", "export_originals"),
    *("finish_export", "expire_requests"),
    *("may_share", "create_share", "list_shares", "renew_share", "revoke_share", "find_share", "open_share"),
    "purge_shares",
    *("list_images", "get_image", "change_images", "archive_due"),
    *(
        "create_team",
        "list_teams",
        "get_team",
        "get_team_profile",
        "update_team",
        "delete_team",
        "move_images",
    ),
    *("set_member_role", "remove_member", "create_invitation", "list_invitations", "revoke_invitation"),
    *("list_my_invitations", "answer_invitation"),
    *("list_collections", "create_collection", "update_collection", "delete_collection"),
    *("block_hash", "unblock_hash", "blocked_category", "mark_scanned"),
    *("prune_versions", "due_scans", "record_scan"),
    *("keep_input", "get_inputs", "expire_inputs"),
    *(
        "pictures_in_review",
        "picture_in_review",
        "approve_picture",
        "judge_again",
        "due_looks",
        "record_look",
    ),
    *("set_plan", "flag_account", "list_plans", "list_op_prices", "recently_changed"),
    *("fold_usage", "expire_usage", "get_usage", "get_quote_facts", "refund_hit", "settle_storage"),
    *(
        "create_api_key",
        "list_api_keys",
        "update_api_key",
        "rotate_api_key",
        "revoke_api_key",
        "find_api_key",
    ),
    *("touch_api_key", "queue_load"),
    *("receive_stripe_events", "draw_stripe_ticket", "claim_stripe_event", "finish_stripe_event"),
    *("fail_stripe_event", "retry_stripe_events", "stripe_inbox_stats", "purge_stripe_events"),
    *("find_stripe_customer", "keep_stripe_customer", "lose_stripe_customer", "claim_stripe_closure"),
    *("end_stripe_closure", "get_subscription", "record_subscription", "end_subscriptions"),
    *("open_subscriptions", "settle_purchase", "stripe_catalogue", "record_stripe_price"),
    *("find_stripe_prices", "find_offer", "list_packs"),
    *("admin_role", "list_admins", "grant_admin", "revoke_admin", "admin_users", "admin_user", "admin_jobs"),
    *("admin_job", "replay_job", "admin_cancel_job", "refused_jobs", "review_refused", "list_blocked"),
    *("admin_audit", "admin_abuse", "system_report"),
    *("admin_set_plan", "admin_flag", "admin_credits", "admin_refund_job"),
}


_DEFINED = re.compile(r"^create or replace function public\.(\w+)", re.MULTILINE)


async def test_functions_and_policies_are_what_is_deployed(world: World, scratch: str) -> None:
    before = await dump_schema(scratch)
    files = [*sorted((SUPABASE / "functions").glob("*.sql")), *sorted((SUPABASE / "policies").glob("*.sql"))]
    assert len(files) > 8
    for file in files:
        await world.connection.execute(file.read_text("utf-8"))
    after = await dump_schema(scratch)
    changes = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "migrations", "now", n=2))
    assert not changes, "add a migration with the text of what was changed:\n" + "\n".join(changes[:60])


def test_migrations_are_named_as_the_cli_orders_them() -> None:
    names = [file.name for file in (SUPABASE / "migrations").iterdir()]
    assert all(re.fullmatch(r"20\d{12}_[a-z0-9_]+\.sql", name) for name in names)
    assert len({name[:14] for name in names}) == len(names)


async def test_the_platform_is_the_one_that_was_asked_for(world: World) -> None:
    """`scripts/test` runs this folder a second time as on a hosted project: what migrations make belongs to a role that
    is no superuser and does not own what Auth and Storage have, and text is compared as people do."""
    locale = os.environ.get(HOSTED_LOCALE)
    found = await world.connection.fetchrow(
        "select p.proowner::regrole::text as owner, r.rolsuper as almighty, d.datcollate as locale,"
        " 'auth.users'::regclass in (select oid from pg_class where relowner = p.proowner) as owns_auth,"
        " 'a' < 'B' as as_people"
        " from pg_proc p join pg_roles r on r.oid = p.proowner, pg_database d"
        " where p.oid = 'public.sweep()'::regprocedure and d.datname = current_database()"
    )
    assert found is not None
    if locale is None:
        assert (found["owner"], found["locale"], found["as_people"]) == ("postgres", "C", False)
    else:
        assert dict(found) == {
            "owner": "hosted",
            "almighty": False,
            "locale": locale,
            "owns_auth": False,
            "as_people": True,
        }


async def test_the_advisors_have_no_finding(local: Local) -> None:
    report = await supabase(
        *("db", "advisors", "--type=all", "--level=warn", "--fail-on=warn"),
        *("--agent=no", "--output-format=json"),
        remote=local.database_url,
    )
    assert not re.search(r'"level":\s*"(WARN|ERROR)"', report)


async def test_the_types_for_typescript_are_current(local: Local) -> None:
    generated = await supabase("gen", "types", "typescript", "--schema=public", remote=local.database_url)
    assert TYPES.read_text("utf-8") == generated, "`python -m scripts.local types` writes them"


async def test_each_function_stands_once_in_the_files_and_once_in_the_database(world: World) -> None:
    """A changed signature makes a second function of the name unless the old one is dropped. dropped.sql names those
    that the next release drops."""
    kept = [
        name
        for line in (SUPABASE / "dropped.sql").read_text("utf-8").splitlines()
        if line.startswith("--   ")
        for name in re.findall(r"(\w+)\(", line)
    ]
    files = sorted((SUPABASE / "functions").glob("*.sql"))
    defined = [name for file in files for name in _DEFINED.findall(file.read_text("utf-8"))]
    rows = await world.connection.fetch(
        "select proname from pg_proc p where pronamespace = 'public'::regnamespace"
        " and not exists (select 1 from pg_depend d where d.objid = p.oid and d.deptype = 'e')"
    )
    assert sorted(row["proname"] for row in rows) == sorted(defined + kept)
    assert len(set(defined)) == len(defined)


async def test_functions_with_rights_of_their_owner_pin_the_search_path(world: World) -> None:
    rows = await world.connection.fetch(
        "select proname, prosecdef, coalesce(proconfig, '{}') as config from pg_proc"
        " where pronamespace = 'public'::regnamespace"
    )
    assert {row["proname"] for row in rows} > CALLABLE_BY_SERVICE
    assert [row["proname"] for row in rows if 'search_path=""' not in row["config"]] == []


async def test_each_function_is_callable_by_those_listed_only(world: World) -> None:
    rows = await world.connection.fetch(
        "select p.proname, coalesce(r.rolname, 'public') as role"
        " from pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
        " left join pg_roles r on r.oid = a.grantee"
        " where p.pronamespace = 'public'::regnamespace and a.grantee <> p.proowner"
    )
    granted: dict[str, set[str]] = {}
    for row in rows:
        granted.setdefault(row["role"], set()).add(row["proname"])
    assert granted.pop("service_role") == CALLABLE_BY_SERVICE
    assert set().union(*granted.values()) <= CALLABLE_BY_USERS


async def test_row_level_security_is_on_everywhere(world: World) -> None:
    rows = await world.connection.fetch(
        "select relname, relrowsecurity from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    assert len(rows) >= 10
    assert [row["relname"] for row in rows if not row["relrowsecurity"]] == []


async def test_nobody_writes_a_table_and_no_user_a_sequence(world: World) -> None:
    rows = await world.connection.fetch(
        "select c.relname, a.grantee::regrole::text as role, a.privilege_type as privilege"
        " from pg_class c, lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')"
        " and a.grantee <> c.relowner and case c.relkind when 'S' then a.grantee <> 'service_role'::regrole"
        " else a.privilege_type <> 'SELECT' end"
    )
    assert [tuple(row) for row in rows] == []


@pytest.mark.parametrize(
    "maker", ["hosted"] if os.environ.get(HOSTED_LOCALE) else ["postgres", "supabase_admin"]
)
async def test_what_is_made_outside_migrations_is_closed(world: World, maker: str) -> None:
    """Whatever the platform's default privileges were before the migrations; scripts/local/platform.sql opens all.

    The makers are the roles whose default privileges the migrating role may change.
    """
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        await world.connection.execute(f"grant create on schema public to {maker}; set local role {maker}")
        await world.connection.execute(
            "create table public.by_hand (id bigint generated always as identity primary key);"
            " create view public.by_hand_too as select id from public.by_hand;"
            " create sequence public.by_hand_as_well"
        )
        if maker != "supabase_admin":  # the default of functions is the role's own for all schemas
            await world.connection.execute(
                "create function public.by_hand_also() returns integer language sql set search_path = ''"
                " as 'select 1'"
            )
        await world.connection.execute("reset role")
        assert await world.violations() == []
        for grant in (
            "select on public.by_hand to anon",
            "insert on public.by_hand to authenticated",
            "select (id) on public.by_hand to authenticated",
            "select on public.by_hand_too to public",
            "usage on sequence public.by_hand_as_well to anon",
            "execute on function public.account_state(uuid) to authenticated",
            "select on public.plans to anon",
            "select (flag_reason) on public.profiles to authenticated",
            "select (plan_id) on public.profiles to anon",
        ):
            inner = world.connection.transaction()
            await inner.start()
            await world.connection.execute(f"grant {grant}")
            found = await world.violations()
            assert [invariant for invariant, _ in found] == [
                "users read and call nothing in public beyond what is listed"
            ], grant
            await inner.rollback()
    finally:
        await transaction.rollback()


@pytest.mark.skipif(
    HOSTED_LOCALE not in os.environ, reason="the local superuser closes supabase_admin's defaults too"
)
async def test_what_the_platform_itself_makes_open_is_reported(world: World) -> None:
    """A hosted project's migrations may not change the default privileges of supabase_admin."""
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        await world.connection.execute(
            "grant create on schema public to supabase_admin; set local role supabase_admin"
        )
        await world.connection.execute("create table public.by_hand (id bigint)")
        await world.connection.execute("reset role")
        found = await world.violations()
        assert {invariant for invariant, _ in found} == {
            "users read and call nothing in public beyond what is listed"
        }
        assert ("SELECT on by_hand for anon") in {subject for _, subject in found}
    finally:
        await transaction.rollback()


async def test_policies_are_for_reading(world: World) -> None:
    rows = await world.connection.fetch(
        "select tablename, policyname, cmd, roles from pg_policies "
        "where schemaname in ('public', 'storage') and policyname not like 'contract%'"  # of tests/contract
    )
    assert [row["policyname"] for row in rows if row["cmd"] != "SELECT"] == []
    to_all = [row["tablename"] for row in rows if set(row["roles"]) != {"authenticated"}]
    assert to_all == ["plans"]


async def test_foreign_keys_are_indexed(world: World) -> None:
    """By an index that holds every row the key can have: partial ones may only leave out nulls of it."""
    rows = await world.connection.fetch(
        """
        select k.conrelid::regclass::text || '.' || a.attname as key
        from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
        where k.contype = 'f' and k.connamespace = 'public'::regnamespace and not exists (
          select 1 from pg_index i
          where i.indrelid = k.conrelid and i.indkey[0] = k.conkey[1]
            and (i.indpred is null
                 or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)))
        """
    )
    assert [row["key"] for row in rows] == []

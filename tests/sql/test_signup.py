"""Signup credits: with a confirmed address, once for each address and each account, also after a deletion."""

from __future__ import annotations

import asyncio
import secrets
import uuid

import pytest

from tests.sql.fixtures import Opener
from tests.sql.test_plans import today
from tests.sql.world import World

CREDITS = 100


def address(domain: str = "example.com") -> str:
    return f"{secrets.token_hex(8)}@{domain}"


async def sign_up(
    world: World, email: str | None, *, confirmed: bool = True, guest: bool = False
) -> uuid.UUID:
    user = uuid.uuid4()
    await world.connection.execute(
        "insert into auth.users (id, email, email_confirmed_at, is_anonymous)"
        " values ($1, $2, case when $3 then now() end, $4)",
        *(user, email, confirmed, guest),
    )
    return user


async def leave(world: World, user: uuid.UUID) -> None:
    await world.connection.execute("delete from auth.users where id = $1", user)


@pytest.mark.parametrize(
    ("written", "mailbox"),
    [
        ("Ada@Example.com", "ada@example.com"),
        (" ada+darkroom@example.com ", "ada@example.com"),
        ("a.d.a+x+y@GMail.com", "ada@gmail.com"),
        ("ada@googlemail.com", "ada@gmail.com"),
        ("a.da@example.com", "a.da@example.com"),
        ("+ada@example.com", "+ada@example.com"),
        ('"a@b"@example.com.', '"a@b"@example.com'),
    ],
)
async def test_addresses_of_one_mailbox_are_one(world: World, written: str, mailbox: str) -> None:
    assert await world.call("private.mailbox_of", p_email=written) == mailbox


async def test_credits_come_with_the_confirmation(world: World) -> None:
    user = await sign_up(world, address(), confirmed=False)
    assert await world.balance(user) == 0
    confirm = "update auth.users set email_confirmed_at = now() where id = $1"
    await world.connection.execute(confirm, user)
    assert await world.balance(user) == CREDITS
    await world.connection.execute("update auth.users set email_confirmed_at = null where id = $1", user)
    await world.connection.execute(confirm, user)
    assert await world.balance(user) == CREDITS


async def test_a_guest_gets_them_with_a_confirmed_address(world: World) -> None:
    guest = await sign_up(world, None, confirmed=False, guest=True)
    assert await world.balance(guest) == 0
    await world.connection.execute("update auth.users set email = $2 where id = $1", guest, address())
    assert await world.balance(guest) == 0
    await world.connection.execute(
        "update auth.users set email_confirmed_at = now(), is_anonymous = false where id = $1", guest
    )
    assert await world.balance(guest) == CREDITS


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{0}@example.com", "{0}@example.com"),
        ("{0}@example.com", "{0}+again@EXAMPLE.com"),
        ("x{0}@gmail.com", "x.{0}+again@googlemail.com"),
    ],
)
async def test_they_do_not_come_again_after_a_deletion(world: World, first: str, second: str) -> None:
    name = secrets.token_hex(8)
    user = await sign_up(world, first.format(name))
    assert await world.balance(user) == CREDITS
    await leave(world, user)
    assert await world.balance(await sign_up(world, second.format(name))) == 0


async def test_two_accounts_of_one_mailbox_get_them_once(world: World, open_world: Opener) -> None:
    name = secrets.token_hex(8)
    others = [await open_world() for _ in range(4)]
    users = await asyncio.gather(*(sign_up(one, f"{name}+{n}@example.com") for n, one in enumerate(others)))
    assert sorted([await world.balance(user) for user in users]) == [0, 0, 0, CREDITS]


async def test_an_account_that_changes_its_address_gets_none_again(world: World) -> None:
    """Nor does whoever signs up with an address that the account had."""
    before, after = address(), address()
    user = await sign_up(world, before)
    await world.connection.execute("update auth.users set email = $2 where id = $1", user, after)
    assert await world.balance(user) == CREDITS
    await leave(world, user)
    assert [await world.balance(await sign_up(world, each)) for each in (before, after)] == [0, 0]


async def test_only_a_keyed_digest_of_the_address_is_kept(world: World) -> None:
    email = address()
    user = await sign_up(world, email)
    await leave(world, user)
    digest = await world.call("private.address_digest", p_email=email)
    assert len(digest) == 32
    assert await world.value("select count(*) from public.signup_addresses where digest = $1", digest) == 1
    plain = await world.value(
        "select count(*) from public.signup_addresses"
        " where digest in (sha256(convert_to($1, 'UTF8')), convert_to(left($1, 32), 'UTF8'))",
        email,
    )
    assert plain == 0
    columns = await world.connection.fetch(
        "select attname from pg_attribute where attrelid = 'public.signup_addresses'::regclass and attnum > 0"
    )
    assert {row["attname"] for row in columns} == {"digest", "created_at"}


@pytest.mark.parametrize("kept", [False, True], ids=["gone", "row kept"])
async def test_a_new_account_goes_on_with_the_quotas_of_the_old_one(world: World, *, kept: bool) -> None:
    """What was used this month is not given again by a deletion; it is forgotten when the month is over."""
    email = address()
    user = await sign_up(world, email)
    await world.intake(user)
    await world.fail(await world.running(user), code="corrupt_image")
    if kept:  # as Auth deletes an account whose row it keeps
        await world.connection.execute(
            "update auth.users set deleted_at = now(), email = md5(email) where id = $1", user
        )
    else:
        await leave(world, user)
    again = await sign_up(world, email)
    assert await world.balance(again) == 0
    day = await today(world, again)
    assert (day["generations"], day["failures"]) == (1, 1)
    await leave(world, again)
    await world.connection.execute("update public.deleted_usage set day = day - 40")
    await world.call("expire_usage")
    assert await world.value("select count(*) from public.deleted_usage") == 0
    third = await sign_up(world, email)
    assert await world.value("select count(*) from public.usage_daily where user_id = $1", third) == 0

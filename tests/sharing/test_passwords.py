"""Hashes of passwords: salted, checkable by their own parameters, never a thing to be read back."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from argon2.exceptions import InvalidHashError

from service.errors import Code, ProblemError
from service.sharing.passwords import (
    MAX_CHARACTERS,
    MOST,
    MOST_OF_CALLER,
    MOST_OF_SITE,
    _place,
    hash_password,
    matches,
)


async def test_a_hash_matches_its_password_alone() -> None:
    stored = await hash_password("pässword", "me")
    assert "pässword" not in stored
    assert await matches("pässword", stored, "me")
    assert await matches("pa\u0308ssword", stored, "me")
    assert not await matches("password", stored, "me")
    assert stored != await hash_password("pässword", "me")


async def test_older_parameters_stay_readable() -> None:
    """A hash of the reference implementation: `echo -n password | argon2 somesalt -id -v 13 -t 2 -m 16 -p 1`."""
    stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
    assert await matches("password", stored, "me")
    assert not await matches("Password", stored, "me")


async def test_what_is_no_hash_is_an_error() -> None:
    with pytest.raises(InvalidHashError):
        await matches("x", "plain", "me")


async def test_no_caller_fills_the_queue_and_the_queue_has_an_end() -> None:
    with ExitStack() as places:
        for _ in range(MOST_OF_CALLER):
            places.enter_context(_place("me"))
        with pytest.raises(ProblemError) as mine:
            await hash_password("open sesame", "me")
        assert (mine.value.code, mine.value.headers["Retry-After"]) == (Code.rate_limited, "2")
        assert await hash_password("open sesame", "another")
        for number in range(MOST - MOST_OF_CALLER):
            places.enter_context(_place(f"caller {number}"))
        with pytest.raises(ProblemError) as full:
            await hash_password("open sesame", "another")
        assert full.value.code is Code.overloaded
    assert len(await asyncio.gather(*(hash_password("open sesame", "me") for _ in range(2)))) == 2


async def test_no_network_fills_the_queue() -> None:
    stored = await hash_password("open sesame", "me")
    with ExitStack() as places:
        for number in range(MOST_OF_SITE):
            places.enter_context(_place(f"2001:db8:0:{number}::/64", "2001:db8::/48"))
        with pytest.raises(ProblemError) as refused:
            await matches("open sesame", stored, "2001:db8:0:ffff::/64", "2001:db8::/48")
        assert refused.value.code is Code.rate_limited
        assert await matches("open sesame", stored, "2001:db8:1::/64", "2001:db8:1::/48")
    assert await matches("open sesame", stored, "2001:db8:0:ffff::/64", "2001:db8::/48")


async def test_a_password_longer_than_any_is_not_hashed() -> None:
    stored = await hash_password("open sesame", "me")
    with ExitStack() as places:
        for number in range(MOST):
            places.enter_context(_place(f"caller {number}"))
        assert not await matches("a" * (MAX_CHARACTERS + 1), stored, "me")

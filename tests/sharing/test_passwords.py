"""Hashes of passwords: salted, checkable by their own parameters, never a thing to be read back."""

from __future__ import annotations

import pytest

from service.sharing.passwords import hash_password, matches


async def test_a_hash_matches_its_password_alone() -> None:
    stored = await hash_password("pässword")
    assert "pässword" not in stored
    assert await matches("pässword", stored)
    assert await matches("pa\u0308ssword", stored)
    assert not await matches("password", stored)
    assert stored != await hash_password("pässword")


async def test_older_parameters_stay_readable() -> None:
    # scrypt's third test vector (RFC 7914) has ln=14,r=8,p=1 and 64 bytes; ours are 32, whose first block is the same.
    assert await matches(
        "pleaseletmein",
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI",
    )


async def test_what_is_no_hash_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a hash"):
        await matches("x", "plain")

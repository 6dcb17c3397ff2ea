"""What a key looks like: found by scanners, checked without a lookup."""

from __future__ import annotations

import json
import re

import pytest

from service.access.key_format import (
    ALPHABET,
    PATTERN,
    checksum,
    is_well_formed,
    keyed_hash,
    make_key,
    prefix_of,
)
from service.platform.telemetry import redact


def test_a_key_is_marked_and_carries_its_checksum() -> None:
    for live, mark in ((True, "dk_live_"), (False, "dk_test_")):
        made = make_key(live=live)
        assert re.fullmatch(PATTERN, made.key)
        assert made.key.startswith(mark)
        assert made.prefix == made.key[:16] == prefix_of(made.key)
        assert is_well_formed(made.key)
        assert made.key not in repr(made)


def test_the_checksum_is_crc32_in_base62() -> None:
    # zlib.crc32(b"123456789") is 0xCBF43926, the check value in every description of CRC-32: 3_421_780_262.
    number = 0
    for digit in checksum("123456789"):
        number = number * 62 + ALPHABET.index(digit)
    assert number == 0xCBF43926
    assert len(checksum("")) == 6


def test_any_changed_character_is_noticed() -> None:
    key = make_key(live=True).key
    for at in range(len("dk_live_"), len(key)):
        other = "x" if key[at] != "x" else "y"
        assert not is_well_formed(key[:at] + other + key[at + 1 :])


@pytest.mark.parametrize("shown", ["", "dk_live_", "dk_live_" + "é" * 46, "dk_prod_" + "a" * 46])
def test_what_cannot_be_a_key_is_none(shown: str) -> None:
    assert not is_well_formed(shown)


def test_no_two_keys_share_a_prefix_or_a_secret() -> None:
    made = [make_key(live=True) for _ in range(1000)]
    assert len({each.prefix for each in made}) == len({each.key[16:48] for each in made}) == 1000


def test_a_scanner_finds_keys_where_they_leak() -> None:
    key = make_key(live=True).key
    for leak in (
        f"KEY={key}\n",
        json.dumps({"key": key}),
        f"curl -H 'Authorization: Bearer {key}' https://x",
    ):
        assert re.findall(rf"\b{PATTERN}\b", leak) == [key]


def test_the_hash_depends_on_the_pepper() -> None:
    key = make_key(live=True).key
    assert len(keyed_hash(b"a" * 32, key)) == 32
    assert keyed_hash(b"a" * 32, key) != keyed_hash(b"b" * 32, key)


def test_logs_show_the_prefix_and_never_the_key() -> None:
    made = make_key(live=True)
    shown = redact(f"verified {made.key} of {made.prefix}")
    assert made.key not in shown
    assert made.key[20:] not in shown
    assert shown.endswith(made.prefix)

"""What an API key looks like: `dk_live_` (outside production `dk_test_`), 8 characters to find it by, 32 secret ones,
and 6 of checksum, all base62.

The checksum is CRC-32 of everything before it, as in GitHub's tokens: a scanner that finds a string like a key can tell
whether it is one without asking anybody, and a key that was copied badly is refused without a lookup. 32 characters
of base62 are 190 random bits.
"""

import hashlib
import hmac
import re
import string
import zlib
from dataclasses import dataclass

from service.platform.journal import random_bytes

PATTERN = r"dk_(?:live|test)_[0-9A-Za-z]{46}"
"""What to look for in logs and repositories; docs/access.md names it to the makers of scanners."""
KEY = re.compile(PATTERN)
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX_CHARACTERS = 8
SECRET_CHARACTERS = 32
CHECKSUM_CHARACTERS = 6
RANDOM_BYTES = 48
MARK_CHARACTERS = len("dk_live_")


@dataclass(frozen=True, slots=True, repr=False)
class NewKey:
    """A key at the only moment when it is known whole; `prefix` is what it is found by."""

    key: str
    prefix: str


def make_key(*, live: bool) -> NewKey:
    """A random key; the same one when a request with an Idempotency-Key is repeated."""
    # So many bytes that no character is likelier than another by 2^-140.
    number = int.from_bytes(random_bytes(RANDOM_BYTES, "api-key"), "big")
    body = "dk_live_" if live else "dk_test_"
    for _ in range(PREFIX_CHARACTERS + SECRET_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        body += ALPHABET[digit]
    return NewKey(body + checksum(body), prefix_of(body))


def checksum(body: str) -> str:
    """CRC-32 of all that comes before it, in six digits of base62."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def looks_like_key(token: str) -> bool:
    """Whether a token means to be an API key, rather than a JWT."""
    return token.startswith("dk_")


def is_well_formed(key: str) -> bool:
    """Whether this can be a key at all: its form and its checksum."""
    return (
        KEY.fullmatch(key) is not None and checksum(key[:-CHECKSUM_CHARACTERS]) == key[-CHECKSUM_CHARACTERS:]
    )


def prefix_of(key: str) -> str:
    """The part that a key is found by, and shown by to its owner."""
    return key[: MARK_CHARACTERS + PREFIX_CHARACTERS]


def keyed_hash(pepper: bytes, key: str) -> bytes:
    """What is kept of a key: HMAC-SHA256 under `derive(secret, "api-key")`, 32 bytes.

    A key has 190 random bits, so nothing slower is needed; without the pepper a copy of the table tests no guess.
    """
    return hmac.digest(pepper, key.encode(), hashlib.sha256)

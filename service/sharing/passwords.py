"""Passwords of share links, hashed by scrypt as OWASP advises: 16 MiB and about 0.15 s each, in threads.

A hash carries its parameters in the PHC form `$scrypt$ln=14,r=8,p=5$salt$hash`, so that they can be raised later.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import partial

LOG_N, R, P = 14, 8, 5
SALT_BYTES = 16
HASH_BYTES = 32
_FORM = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)")
# Two at a time: a crowd at a protected link waits for each other, not the rest of the API for them.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="scrypt")


async def hash_password(password: str) -> str:
    """The form to be stored, under a salt of its own."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = await _scrypt(password, salt, LOG_N, R, P)
    return f"$scrypt$ln={LOG_N},r={R},p={P}${_text(salt)}${_text(digest)}"


async def matches(password: str, stored: str) -> bool:
    """Whether this is the password that `stored` was made from; takes as long either way."""
    found = _FORM.fullmatch(stored)
    if found is None:
        raise ValueError("not a hash of ours")
    log_n, r, p = (int(part) for part in found.groups()[:3])
    salt, digest = (_bytes(part) for part in found.groups()[3:])
    return secrets.compare_digest(await _scrypt(password, salt, log_n, r, p), digest)


async def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    # Normalised: keyboards differ in how they compose an accent.
    plain = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    n = 1 << log_n
    work = partial(
        hashlib.scrypt, plain, salt=salt, n=n, r=r, p=p, maxmem=256 * r * (n + p), dklen=HASH_BYTES
    )
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _bytes(value: str) -> bytes:
    return base64.b64decode(value + "=" * (-len(value) % 4))

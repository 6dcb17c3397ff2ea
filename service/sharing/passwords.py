"""Passwords of share links, hashed by scrypt as OWASP advises: 16 MiB and about 0.15 s each, in threads.

Two are hashed at a time, and a bounded number waits, of each caller a few: whoever comes beyond that is told to come
back, so that a crowd at one link delays the others by a second or two at most. `caller` is whatever names one.

A hash carries its parameters in the PHC form `$scrypt$ln=14,r=8,p=5$salt$hash`, so that they can be raised later.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from service.errors import Code, ProblemError

LOG_N, R, P = 14, 8, 5
SALT_BYTES = 16
HASH_BYTES = 32
_FORM = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)")
MAX_CHARACTERS = 128
THREADS = 2
MOST = THREADS + 16
MOST_OF_CALLER = 6
RETRY_SECONDS = 2
_THREADS = ThreadPoolExecutor(THREADS, thread_name_prefix="scrypt")
_pending: Counter[str] = Counter()


async def hash_password(password: str, caller: str) -> str:
    """The form to be stored, under a salt of its own. Raises ProblemError (rate_limited, overloaded)."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = await _scrypt(caller, password, salt, LOG_N, R, P)
    return f"$scrypt$ln={LOG_N},r={R},p={P}${_text(salt)}${_text(digest)}"


async def matches(password: str, stored: str, caller: str) -> bool:
    """Whether this is the password that `stored` was made from; takes as long either way, unless it is longer than any
    that is accepted. Raises ProblemError (rate_limited, overloaded)."""
    found = _FORM.fullmatch(stored)
    if found is None:
        raise ValueError("not a hash of ours")
    log_n, r, p = (int(part) for part in found.groups()[:3])
    if len(password) > MAX_CHARACTERS:
        return False
    salt, digest = (_bytes(part) for part in found.groups()[3:])
    return secrets.compare_digest(await _scrypt(caller, password, salt, log_n, r, p), digest)


async def _scrypt(  # noqa: PLR0913, PLR0917 - scrypt's own parameters
    caller: str, password: str, salt: bytes, log_n: int, r: int, p: int
) -> bytes:
    # Normalised: keyboards differ in how they compose an accent.
    plain = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    n = 1 << log_n
    work = partial(
        hashlib.scrypt, plain, salt=salt, n=n, r=r, p=p, maxmem=256 * r * (n + p), dklen=HASH_BYTES
    )
    with _place(caller):
        return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


@contextmanager
def _place(caller: str) -> Iterator[None]:
    """A place among those who hash or wait for it. Raises ProblemError where none is left."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    if _pending[caller] >= MOST_OF_CALLER:
        detail = f"{MOST_OF_CALLER} passwords of yours are being checked; try again in {RETRY_SECONDS} s."
        raise ProblemError(Code.rate_limited, detail, headers=headers)
    if _pending.total() >= MOST:
        detail = f"Many passwords are being checked; try again in {RETRY_SECONDS} s."
        raise ProblemError(Code.overloaded, detail, headers=headers)
    _pending[caller] += 1
    try:
        yield
    finally:
        _pending[caller] -= 1
        if not _pending[caller]:
            del _pending[caller]


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _bytes(value: str) -> bytes:
    return base64.b64decode(value + "=" * (-len(value) % 4))

"""Passwords of share links, hashed by scrypt as OWASP advises: 16 MiB and about 0.15 s each, in threads.

Two are hashed at a time, and a bounded number waits, of each caller a few: whoever comes beyond that is told to come
back, so that a crowd at one link delays the others by a second or two at most. `caller` is whatever names one; `site`
the network around it, whose callers have twice what one has, so that no network has every place.

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

from service.platform.errors import ProblemError, overloaded, rate_limited

LOG_N, R, P = 14, 8, 5
SALT_BYTES = 16
HASH_BYTES = 32
_FORM = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)")
MAX_CHARACTERS = 128
THREADS = 2
MOST = THREADS + 16
MOST_OF_CALLER = 6
MOST_OF_SITE = 2 * MOST_OF_CALLER
RETRY_SECONDS = 2
ALL = "all"
_THREADS = ThreadPoolExecutor(THREADS, thread_name_prefix="scrypt")
_pending: Counter[str] = Counter()


async def hash_password(password: str, caller: str) -> str:
    """The form to be stored, under a salt of its own. Raises ProblemError (rate_limited, overloaded)."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = await _scrypt(caller, password, salt, LOG_N, R, P)
    return f"$scrypt$ln={LOG_N},r={R},p={P}${_text(salt)}${_text(digest)}"


async def matches(password: str, stored: str, caller: str, site: str | None = None) -> bool:
    """Whether this is the password that `stored` was made from; takes as long either way, unless it is longer than any
    that is accepted. Raises ProblemError (rate_limited, overloaded)."""
    found = _FORM.fullmatch(stored)
    if found is None:
        raise ValueError("not a hash of ours")
    log_n, r, p = (int(part) for part in found.groups()[:3])
    if len(password) > MAX_CHARACTERS:
        return False
    salt, digest = (_bytes(part) for part in found.groups()[3:])
    return secrets.compare_digest(await _scrypt(caller, password, salt, log_n, r, p, site), digest)


async def _scrypt(  # noqa: PLR0913, PLR0917 - scrypt's own parameters
    caller: str, password: str, salt: bytes, log_n: int, r: int, p: int, site: str | None = None
) -> bytes:
    # Normalised: keyboards differ in how they compose an accent.
    plain = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    n = 1 << log_n
    work = partial(
        hashlib.scrypt, plain, salt=salt, n=n, r=r, p=p, maxmem=256 * r * (n + p), dklen=HASH_BYTES
    )
    with _place(caller, site):
        return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


@contextmanager
def _place(caller: str, site: str | None = None) -> Iterator[None]:
    """A place among those who hash or wait for it. Raises ProblemError where none is left."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    names = [f"caller:{caller}"] if site is None else [f"caller:{caller}", f"site:{site}"]
    for name, most in zip(names, (MOST_OF_CALLER, MOST_OF_SITE), strict=False):
        if _pending[name] >= most:
            detail = f"{most} passwords of yours are being checked; try again in {RETRY_SECONDS} s."
            raise ProblemError(rate_limited, detail, headers=headers)
    if _pending[ALL] >= MOST:
        detail = f"Many passwords are being checked; try again in {RETRY_SECONDS} s."
        raise ProblemError(overloaded, detail, headers=headers)
    names.append(ALL)
    _pending.update(names)
    try:
        yield
    finally:
        for name in names:
            _pending[name] -= 1
            if not _pending[name]:
                del _pending[name]


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _bytes(value: str) -> bytes:
    return base64.b64decode(value + "=" * (-len(value) % 4))

"""Passwords of share links, hashed by argon2id as OWASP advises: 19 MiB, two passes, one lane, in threads.

That takes a quarter of the time of scrypt of the same strength (N=2^14, r=8, p=5): 69 against 269 ms in one run on busy
cores. Two are hashed at a time, and a bounded number waits, of each caller a few: whoever comes beyond that is told to
come back, so that a crowd at one link delays the others by a second at most. `caller` is whatever names one; `site` the
network around it, whose callers have twice what one has, so that no network has every place.

A hash carries its parameters in the PHC form `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`, so that they can be raised
later.
"""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from service.errors import Code, ProblemError

T = TypeVar("T")
MAX_CHARACTERS = 128
THREADS = 2
MOST = THREADS + 16
MOST_OF_CALLER = 6
MOST_OF_SITE = 2 * MOST_OF_CALLER
RETRY_SECONDS = 2
ALL = "all"
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)  # memory in KiB
_THREADS = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
_pending: Counter[str] = Counter()


async def hash_password(password: str, caller: str) -> str:
    """The form to be stored, under a salt of its own. Raises ProblemError (rate_limited, overloaded)."""
    return await _in_thread(partial(_HASHER.hash, _plain(password)), caller)


async def matches(password: str, stored: str, caller: str, site: str | None = None) -> bool:
    """Whether this is the password that `stored` was made from; takes as long either way, unless it is longer than any
    that is accepted. Raises ProblemError (rate_limited, overloaded), ValueError for what is no hash."""
    if len(password) > MAX_CHARACTERS:
        return False
    try:
        return await _in_thread(partial(_HASHER.verify, stored, _plain(password)), caller, site)
    except VerifyMismatchError:
        return False


def _plain(password: str) -> bytes:
    """Normalised: keyboards differ in how they compose an accent."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


async def _in_thread(work: Callable[[], T], caller: str, site: str | None = None) -> T:
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
            raise ProblemError(Code.rate_limited, detail, headers=headers)
    if _pending[ALL] >= MOST:
        detail = f"Many passwords are being checked; try again in {RETRY_SECONDS} s."
        raise ProblemError(Code.overloaded, detail, headers=headers)
    names.append(ALL)
    _pending.update(names)
    try:
        yield
    finally:
        for name in names:
            _pending[name] -= 1
            if not _pending[name]:
                del _pending[name]

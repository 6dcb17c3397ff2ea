"""The hot half of the compute cache: whole answers to a hit, in Redis, until half the life of their URLs.

A key holds the bytes of an IntakeAnswer, ready to be sent, behind a line that says what it is worth (see
service/billing/meter.py) and which claim it answers, and a seal. Any other claim about the same digest is a miss here.
It dies before its URLs do and before its output does, and is deleted by whatever deletes, expires or moves the output.

The seal is a MAC under a key derived from DARKROOM_SECRET, over the Redis key, the claim, the time of its end and the
answer: whoever can write to Redis can neither make an answer, nor move one to another key or claim, nor keep one beyond
its end.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, cast
from uuid import UUID

import structlog
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.billing.meter import Label
from service.database import Forget
from service.intake.schemas import IntakeRequest
from service.invalidation import Invalidation
from service.redis_connection import dropped
from service.secrets import derive

log = structlog.get_logger()
ON_THE_WAY_SECONDS = 120
"""More than an intake that has begun can take."""
MAX_ANSWER_SECONDS = 450.0
"""The longest that an answer is kept: half the most that a URL may be signed for (DARKROOM_SIGNED_URL_SECONDS)."""
MAC_BYTES = 16
END_BYTES = 8


def hit_key(cache_key: str, owner_id: UUID | None) -> str:
    """Redis key of an owner's hit; the anonymous share one. Teams have none: membership is asked for each time.

    A change of what an entry looks like needs another prefix: processes of two releases run side by side in a deploy.
    """
    return f"darkroom:hot:{owner_id or 'anonymous'}:{cache_key}"


@lru_cache(maxsize=8)
def _mac_key(secret: SecretStr) -> bytes:
    return derive(secret, "hot-answer")


def _mac(secret: SecretStr, key: str, sealed: bytes) -> bytes:
    # One call over a copy is cheaper than three. Nothing need stand between key and entry: a key ends with a digest of
    # fixed length.
    return blake2b(key.encode() + sealed, digest_size=MAC_BYTES, key=_mac_key(secret)).digest()


def seal(secret: SecretStr, key: str, answer: bytes, milliseconds: int) -> bytes:
    """An answer as it is kept under `key` for so long: MAC, end (unix milliseconds), answer."""
    end = int(time.time() * 1000) + milliseconds
    sealed = end.to_bytes(END_BYTES, "big") + answer
    return _mac(secret, key, sealed) + sealed


def unseal(secret: SecretStr, key: str, entry: bytes) -> bytes | None:
    """The answer that `seal` was given, without the line before it; None, and counted, for anything else."""
    at = entry.find(b"\n") + 1
    sealed = entry[at + MAC_BYTES :]
    mac = _mac(secret, key, sealed)
    end = int.from_bytes(sealed[:END_BYTES], "big")
    if not compare_digest(entry[at : at + MAC_BYTES], mac) or end < time.time() * 1000:
        dropped("answer")
        return None
    return sealed[END_BYTES:]


def claimed(claim: IntakeRequest) -> str:
    """What must agree with the verified picture beside its digest: `{bytes}:{longer side}:{shorter side}`. Which side
    is called width depends on whether the client has looked at the EXIF orientation."""
    width, height = claim.width, claim.height
    return f"{claim.size}:{width}:{height}" if width >= height else f"{claim.size}:{height}:{width}"


def bound(key: str, said: str) -> str:
    """What the seal of an answer binds it to: its Redis key and the claim that it answers."""
    return f"{key}\n{said}"


async def remember(  # noqa: PLR0913
    redis: Redis,
    secret: SecretStr,
    key: str,
    answer: bytes,
    *,
    claim: IntakeRequest,
    url_seconds: int,
    expires_at: datetime | None,
    label: Label = Label(0, 0, 0),  # noqa: B008 - it has no state
) -> None:
    """Keep an answer to this claim for half the life of its URLs at most, unless its bytes have been blocked or its
    owner's data deleted meanwhile. Redis away: it is simply not kept."""
    milliseconds = url_seconds * 500
    if expires_at is not None:
        left = int((expires_at - datetime.now(UTC)).total_seconds() * 1000)
        milliseconds = min(milliseconds, left)
    if milliseconds <= 0:
        return
    try:
        script = cast("Any", redis)  # redis-py declares its arguments as text alone
        owner = key.split(":")[2]
        said = claimed(claim)
        entry = label.line(said) + seal(secret, bound(key, said), answer, milliseconds)
        await script.eval(
            _UNLESS_BARRED, 3, key, _bar_key(claim.sha256), _bar_key(owner), entry, milliseconds
        )
    except (RedisError, OSError) as error:
        log.warning("hit_not_kept", error=type(error).__name__)


_UNLESS_BARRED = """
if redis.call('exists', KEYS[2], KEYS[3]) == 0 then redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
"""


def _bar_key(subject: str) -> str:
    """Of the bytes with a digest, or of everything of a user."""
    return f"darkroom:barred:{subject}"


async def bar(redis: Redis, sha256: str, seconds: int) -> None:
    """Keep answers about these bytes out for as long as one that was made before could be on its way. Raises
    RedisError."""
    await redis.set(_bar_key(sha256), b"1", ex=seconds)


async def unbar(redis: Redis, sha256: str) -> None:
    """Let answers about these bytes in again. Raises RedisError."""
    await redis.delete(_bar_key(sha256))


async def forget(invalidation: Invalidation, gone: Iterable[Forget]) -> bool:
    """Delete the answers of outputs that are gone. False: Redis is away; they are deleted when it is back, or have
    ended by then."""
    keys = (hit_key(entry.cache_key, entry.owner_id) for entry in gone if entry.cache_key is not None)
    return await invalidation.delete(keys, MAX_ANSWER_SECONDS)


async def forget_user(redis: Redis, user_id: UUID) -> None:
    """Delete every answer of a user, and keep those out that are on their way. Raises RedisError.

    Walks the whole keyspace, in small steps: for what is rare and must be sure.
    """
    await redis.set(_bar_key(str(user_id)), b"1", ex=ON_THE_WAY_SECONDS)
    keys = [key async for key in redis.scan_iter(match=f"darkroom:hot:{user_id}:*", count=1000)]
    if keys:
        await redis.delete(*keys)

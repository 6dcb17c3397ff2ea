"""Who may call a route, and how often: the dependencies that routes declare, and the limits of a caller.

All limits of a request are decided together, in one round trip to Redis that also tells whether what this process
remembers of the caller is still true.
"""

from functools import lru_cache
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from service.access.accounts import Accounts
from service.access.auth import Caller, Principal
from service.access.key_ring import KeyRing
from service.platform.addresses import Networks, networks, pseudonym
from service.platform.errors import ProblemError, sign_in_required
from service.platform.freshness import version_key
from service.platform.gcra import COUNTS, HOUR, LOCAL_KEYS, MINUTE, Admission, Kept, Limit, Limits, by_address
from service.platform.idempotency import begin, has_key
from service.platform.resources import Platform, platform_of
from service.platform.settings import Settings

FOLLOW_UPS_PER_INTAKE = 10


def limits_of(principal: Principal, settings: Settings, *, follow_up: bool = False) -> Limits:
    """The limits of a request: by address and the network around it, for a user by user and, where an API key has a
    rate, by key.

    What follows an intake (polling, confirming, canceling) is counted apart, and more of it is allowed: it costs
    little, and a client without SSE polls dozens of times for one job.
    """
    kind, factor = ("jobs", FOLLOW_UPS_PER_INTAKE) if follow_up else ("intake", 1)
    key = principal.key
    return _limits(
        f"darkroom:rate:{kind}",
        networks(principal.ip),
        settings.rate_per_ip_minute * factor,
        principal.user_id,
        settings.rate_per_user_hour * factor,
        None if key is None else key.key_id,
        None if key is None or key.rate_per_minute is None else key.rate_per_minute * factor,
    )


@lru_cache(maxsize=LOCAL_KEYS)
def _limits(  # noqa: PLR0913, PLR0917 - all that tells one caller's limits from another's
    prefix: str,
    where: Networks,
    per_ip: int,
    user_id: UUID | None,
    per_user: int,
    key_id: UUID | None,
    per_key: int | None,
) -> Limits:
    """Remembered: to write the ids out anew for each request would be a tenth of a cache hit."""
    found = [*by_address("ip", prefix, per_ip, MINUTE, where)]
    if user_id is not None:
        found.append(Limit("user", f"{prefix}:user:{user_id}", per_user, HOUR))
    if per_key is not None:
        found.append(Limit("key", f"{prefix}:key:{key_id}", per_key, MINUTE))
    return Limits(found)


@lru_cache(maxsize=LOCAL_KEYS)
def _account(user_id: UUID) -> tuple[str, str]:
    return COUNTS, str(user_id)


async def admit(  # noqa: PLR0913
    platform: Platform,
    principal: Principal,
    scope: Scope,
    *,
    follow_up: bool = False,
    get: Kept | None = None,
    times: int = 1,
    may_be_deleted: bool = False,
) -> Admission:
    """Let a request through, reading the answer `get` along the way; its `scope` keeps the outcome, for the headers of
    a refusal that comes later, and its Idempotency-Key is taken. Raises ProblemError: rate_limited, that the API key
    has ended since this process verified it, or that the account may not be used; one that is deleted passes where
    `may_be_deleted`; and what idempotency.begin raises. `times`: as how many requests it counts."""
    user_id = principal.user_id
    limits = limits_of(principal, platform.settings, follow_up=follow_up)
    if times > 1:
        limits = Limits(limit._replace(cost=min(times, limit.burst)) for limit in limits)
    admission = await platform.limiter.admit(
        limits,
        get=get,
        # Whether the account and the API key still stand.
        version=None if user_id is None else version_key(user_id),
        # An answer out of Redis is counted by the script that reads it.
        count=None if user_id is None or get is None else _account(user_id),
    )
    scope["darkroom.admission"] = admission
    admission.require()
    if principal.key is not None:
        await platform.shared(KeyRing).confirm(principal.key, admission)
    elif user_id is not None:
        await platform.shared(Accounts).confirm(user_id, admission, may_be_deleted=may_be_deleted)
    if has_key(scope) and await begin(
        platform, scope, user_id, pseudonym(platform.settings.secret, principal.ip)
    ):
        # What this call led to when it was made first may be in the answer that was read.
        return admission._replace(value=None)
    return admission


async def rate_limit(request: Request, response: Response, principal: Caller) -> Principal:
    """Dependency of ordinary routes: admits the caller or raises 429, and sets the RateLimit headers."""
    admission = await admit(platform_of(request), principal, request.scope, follow_up=True)
    response.headers.update(admission.headers())
    return principal


Admitted = Annotated[Principal, Depends(rate_limit)]


async def _perhaps_deleted(request: Request, response: Response, principal: Caller) -> Principal:
    admission = await admit(
        platform_of(request), principal, request.scope, follow_up=True, may_be_deleted=True
    )
    response.headers.update(admission.headers())
    return principal


AdmittedOrDeleted = Annotated[Principal, Depends(_perhaps_deleted)]
"""Also with the token of an account that is gone: for what is told of its deletion."""


async def _signed_in(principal: Admitted) -> UUID:
    """The user who calls, for routes that the anonymous cannot use. Raises ProblemError (401)."""
    if principal.user_id is None:
        raise ProblemError(
            sign_in_required,
            "Send a Supabase user's access token as 'Authorization: Bearer …'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return principal.user_id


SignedIn = Annotated[UUID, Depends(_signed_in)]

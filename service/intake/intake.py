"""Intake: is it in the cache, is it under way, or is it work?

The claimed sha256 is only a claim: it may find what a worker has verified before, and it may start a job, but nothing
enters the cache on its word.
"""

from typing import NamedTuple

from starlette.types import Scope

from service.access.auth import Principal
from service.access.limits import admit
from service.cache.hot_answers import bound, claimed, hit_key, unseal
from service.cache.store import cache_key
from service.intake.answer import answer
from service.intake.checks import check, check_wishes
from service.intake.order import Order, variant_of
from service.intake.schemas import IntakeRequest
from service.ops.registry import Chain
from service.plans.profiles import Profiles
from service.plans.quotes import quoted_price
from service.plans.store import Plans, Profile
from service.plans.tariff import Price, Tariff
from service.platform.addresses import pseudonym
from service.platform.gcra import Admission, Kept
from service.platform.resources import Platform
from service.platform.telemetry import CACHE
from service.platform.weights import weights_digest
from service.teams.store import Teams

HOT = CACHE.labels("hot")


class Asked(NamedTuple):
    """A claim that was let in, and what is known of it before the database is asked. `kept`: the body of its answer,
    where Redis has it; `cacheable`: whether Redis may keep the answer."""

    claim: IntakeRequest
    principal: Principal
    chain: Chain
    price: Price
    profile: Profile | None
    cacheable: bool
    admission: Admission
    kept: bytes | None


async def ask(platform: Platform, principal: Principal, claim: IntakeRequest, scope: Scope) -> Asked:
    """Let a claim in and look for its answer in Redis, which costs one round trip, rate limit included. Raises
    ProblemError. `scope` is the request's."""
    chain = check(claim, platform)
    check_wishes(claim, principal, platform.settings)
    settings = platform.settings
    if claim.quote_id is not None:
        price = quoted_price(settings.secret, claim.quote_id, principal.user_id, chain.key)
    else:
        price = await platform.shared(Tariff).price(chain)
    # What costs is the database's to answer, which charges it.
    cacheable = chain.cacheable != "never" and price.hit == 0 and claim.team_id is None
    profile = await platform.shared(Profiles).of(principal.user_id)
    variant = variant_of(profile, claim, weights_digest(settings, chain))
    key = hit_key(cache_key(claim.sha256, chain.key, variant), principal.user_id)
    # A hot answer knows nothing of what is to be kept, nor of who is in a team at this moment.
    plain = not claim.wants_persist and claim.keep_for_days is None
    said = claimed(claim)
    admission = await admit(platform, principal, scope, get=Kept(key, said) if cacheable and plain else None)
    kept = None
    if admission.value is not None:
        kept = unseal(settings.secret, bound(key, said), admission.value)
        if kept is not None:
            HOT.inc()
    return Asked(claim, principal, chain, price, profile, cacheable, admission, kept)


async def find_or_make(platform: Platform, asked: Asked, request_id: str | None) -> bytes:
    """The body of the IntakeAnswer that Redis did not have: one RPC and one call of Storage, two for a copy. Beside the
    signing of a hit its bytes are looked for. Raises ProblemError."""
    order = await _order(platform, asked, request_id)
    key = hit_key(cache_key(asked.claim.sha256, asked.chain.key, order.variant), order.user_id)
    return await answer(platform, order, key if asked.cacheable else None)


async def _order(platform: Platform, asked: Asked, request_id: str | None) -> Order:
    """With the profile where it was unknown, as while the database was away: what is made must be the right variant."""
    principal, claim, profile = asked.principal, asked.claim, asked.profile
    database = platform.database
    if profile is None:
        profile = await Plans(database).get_profile(principal.user_id)
    team = await Teams(database).find_profile(claim.team_id, principal.user_id)
    return Order(
        claim=claim,
        chain=asked.chain,
        user_id=principal.user_id,
        variant=variant_of(team or profile, claim, weights_digest(platform.settings, asked.chain)),
        profile=profile,
        team=team,
        price=asked.price,
        request_id=request_id,
        key_id=principal.key_id,
        address=pseudonym(platform.settings.secret, principal.ip),
    )

"""Intake: is it in the cache, is it under way, or is it work?

The claimed sha256 is only a claim: it may find what a worker has verified before, and it may start a job, but nothing
enters the cache on its word.
"""

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


async def intake(
    platform: Platform, principal: Principal, claim: IntakeRequest, scope: Scope
) -> tuple[bytes, Admission]:
    """Answer a claim: the body of an IntakeAnswer, and the admission for its headers. Raises ProblemError. `scope` is
    the request's.

    A hit that Redis knows costs one round trip, rate limit included; everything else is one RPC and one call of
    Storage, two for a copy. Beside the signing of a hit its bytes are looked for.
    """
    chain = check(claim, platform)
    check_wishes(claim, principal, platform.settings)
    settings = platform.settings
    if claim.quote_id is not None:
        price = quoted_price(settings.secret, claim.quote_id, principal.user_id, chain.key)
    else:
        price = await platform.shared(Tariff).price(chain)
    # What costs is the database's to answer, which charges it.
    cacheable = chain.cacheable != "never" and price.hit == 0
    profile = await platform.shared(Profiles).of(principal.user_id)
    variant = variant_of(profile, claim, weights_digest(settings, chain))
    key = hit_key(cache_key(claim.sha256, chain.key, variant), principal.user_id)
    # A hot answer knows nothing of what is to be kept, nor of who is in a team at this moment.
    plain = not claim.wants_persist and claim.keep_for_days is None and claim.team_id is None
    said = claimed(claim)
    admission = await admit(platform, principal, scope, get=Kept(key, said) if cacheable and plain else None)
    if admission.value is not None:
        kept = unseal(settings.secret, bound(key, said), admission.value)
        if kept is not None:
            HOT.inc()
            return kept, admission
    order = await _order(platform, principal, claim, chain, price, profile, scope.get("darkroom.request_id"))
    key = hit_key(cache_key(claim.sha256, chain.key, order.variant), principal.user_id)
    return await answer(platform, order, key if cacheable and claim.team_id is None else None), admission


async def _order(  # noqa: PLR0913, PLR0917 - what it is made of
    platform: Platform,
    principal: Principal,
    claim: IntakeRequest,
    chain: Chain,
    price: Price,
    profile: Profile | None,
    request_id: str | None,
) -> Order:
    """With the profile where it was unknown, as while the database was away: what is made must be the right variant."""
    database = platform.database
    if profile is None:
        profile = await Plans(database).get_profile(principal.user_id)
    team = await Teams(database).find_profile(claim.team_id, principal.user_id)
    return Order(
        claim=claim,
        chain=chain,
        user_id=principal.user_id,
        variant=variant_of(team or profile, claim, weights_digest(platform.settings, chain)),
        profile=profile,
        team=team,
        price=price,
        request_id=request_id,
        key_id=principal.key_id,
        address=pseudonym(platform.settings.secret, principal.ip),
    )

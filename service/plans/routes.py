"""GET /plans: what is on sale. POST /quote: what an op would cost."""

import hashlib

from fastapi import APIRouter, Request, Response

from service.access.limits import Admitted
from service.cache.store import cache_key
from service.ops.variant import variant_for
from service.plans.profiles import Profiles
from service.plans.quotes import sign
from service.plans.schemas import PlanList, PlanOffer, QuoteAnswer, QuoteRequest
from service.plans.store import Plans
from service.plans.tariff import Tariff
from service.platform.chains import chain_of
from service.platform.errors import (
    bad_op_key,
    bad_parameter,
    dependency_unavailable,
    internal,
    malformed_json,
    op_unavailable,
    unknown_op,
)
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.platform.weights import weights_digest

router = APIRouter(tags=["billing"])


@router.get(
    "/plans",
    summary="List plans",
    response_model=PlanList,
    responses=responses(dependency_unavailable, internal, common=False),
)
async def list_plans(request: Request) -> Response:
    """The plans on sale, with what they cost and allow. Public, and the same for everybody."""
    plans = await platform_of(request).shared(Tariff).plans()
    shown = PlanList(
        plans=[
            PlanOffer(**plan.model_dump(include=set(PlanOffer.model_fields))) for plan in plans if plan.public
        ]
    )
    body = shown.model_dump_json().encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Cache-Control": "public, max-age=60"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.post(
    "/quote",
    responses=responses(malformed_json, bad_op_key, unknown_op, bad_parameter, op_unavailable),
)
async def quote(body: QuoteRequest, request: Request, principal: Admitted) -> QuoteAnswer:
    """What an op would cost the caller, whether it would be a hit, and how long it would take.

    The prices hold for ten minutes: send `quote_id` with the intake.
    """
    platform = platform_of(request)
    chain = chain_of(platform, body.op_key)
    price = await platform.shared(Tariff).price(chain)
    profile = await platform.shared(Profiles).of(principal.user_id)
    key = None
    if body.sha256 is not None and chain.cacheable != "never":
        # Without its size a picture is taken to be one that is worked on as it is.
        size = (body.width or 1, body.height or 1)
        side, marked = (None, False) if profile is None else (profile.side, profile.watermark)
        own = weights_digest(platform.settings, chain)
        variant = variant_for(*size, side, marked=marked, weights=own)
        key = cache_key(body.sha256, chain.key, variant)
    settings = platform.settings
    facts = await Plans(platform.database).get_quote_facts(
        principal.user_id,
        key,
        chain.key,
        settings.queue,
        size=body.size,
        width=body.width,
        height=body.height,
    )
    seconds = None if facts.work_seconds is None else round(facts.work_seconds + facts.wait_seconds, 2)
    signed = sign(settings.secret, principal.user_id, chain.key, price)
    return QuoteAnswer(
        op_key=chain.key,
        price=price.hit if facts.cached else price.job,
        cached=facts.cached,
        job_price=price.job,
        hit_price=price.hit,
        expected_seconds=0 if facts.cached else seconds,
        quote_id=signed.quote_id,
        expires_at=signed.expires_at,
    )

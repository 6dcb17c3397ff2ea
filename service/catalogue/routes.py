"""GET /ops: every op with its parameters, price and examples."""

import hashlib
from collections.abc import Collection, Mapping

from fastapi import APIRouter, Request, Response

from service.catalogue.schemas import Catalogue, InputLimits, ModerationStatement, OpEntry
from service.moderation.moderators import NSFW_MODEL
from service.ops.registry import catalogue
from service.plans.tariff import Price, Tariff
from service.platform.errors import internal
from service.platform.media import accepted_types
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.platform.settings import Settings

router = APIRouter(tags=["ops"])


def build(settings: Settings, prices: Mapping[str, Price], models: Collection[str]) -> Catalogue:
    """The catalogue under these settings, with the prices that the database sets by op name.

    models: names of those that are installed.
    """
    entries = [
        OpEntry(
            name=op.name,
            version=op.version,
            key=op.key,
            title=op.title,
            description=op.description,
            parameters=op.schema,
            price=prices.get(op.name, Price(op.price, op.hit_price)).job,
            hit_price=prices.get(op.name, Price(op.price, op.hit_price)).hit,
            cacheable=op.cacheable,
            vendor=op.vendor,
            models=list(op.models),
            available=set(op.models) <= set(models),
            examples=list(op.examples),
        )
        for op in catalogue()
    ]
    limits = InputLimits(
        max_bytes=settings.max_bytes,
        max_side=settings.max_side,
        max_pixels=settings.max_pixels,
        content_types=sorted(accepted_types(svg=settings.accept_svg)),
    )
    moderation = ModerationStatement(
        active=settings.moderation != "off" and NSFW_MODEL in models,
        required=settings.moderation == "required",
    )
    return Catalogue(ops=entries, limits=limits, moderation=moderation)


@router.get("/ops", summary="List ops", response_model=Catalogue, responses=responses(internal, common=False))
async def list_ops(request: Request) -> Response:
    """Every op, with the JSON schema of its parameters, its price and example keys, and what an upload may be."""
    state = request.app.state
    platform = platform_of(request)
    prices = await platform.shared(Tariff).prices()
    if getattr(state, "catalogue_prices", None) != prices:
        body = build(state.settings, prices, platform.models).model_dump_json().encode()
        state.catalogue = body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        state.catalogue_prices = prices
    body, etag = state.catalogue
    headers = {"ETag": etag, "Cache-Control": "public, max-age=60"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)

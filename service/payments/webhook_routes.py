"""POST /webhooks/stripe: verify, write down, answer; then deal with it."""

import structlog
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from service.payments.client import Stripe
from service.payments.errors import billing_disabled
from service.payments.inbox import attempt, summary, verify
from service.payments.store import StripeStore
from service.payments.webhook_errors import bad_signature, stale_signature, webhook_disabled
from service.payments.webhook_schemas import Received
from service.platform.errors import (
    DependencyError,
    ProblemError,
    body_too_large,
    dependency_unavailable,
    internal,
    malformed_json,
)
from service.platform.problems import responses
from service.platform.resources import Platform, platform_of

log = structlog.get_logger()
router = APIRouter(prefix="/webhooks", tags=["billing"])


@router.post(
    "/stripe",
    response_model=Received,
    summary="Events of Stripe",
    responses=responses(
        billing_disabled,
        webhook_disabled,
        bad_signature,
        stale_signature,
        malformed_json,
        body_too_large,
        dependency_unavailable,
        internal,
        common=False,
    ),
    openapi_extra={
        "parameters": [
            {
                "name": "Stripe-Signature",
                "in": "header",
                "required": False,
                "schema": {"type": "string"},
                "description": "made by Stripe with the endpoint's secret over time and raw body",
            }
        ],
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": {"type": "object"}}},
            "description": "an event, byte for byte as Stripe has signed it",
        },
        "security": [{}],
    },
)
async def stripe_webhook(request: Request) -> JSONResponse:
    """Takes an event that Stripe has signed. It is kept before the answer goes out, and dealt with after it; sending
    it again changes nothing."""
    platform = platform_of(request)
    platform.shared(Stripe)
    secret = platform.settings.stripe_webhook_secret
    if secret is None:
        raise ProblemError(webhook_disabled, "No secret is set: no event could be verified.")
    signature = request.headers.get("stripe-signature")
    kept = summary(verify(await request.body(), signature, secret.get_secret_value()))
    new = await StripeStore(platform.database).receive([kept])
    task = BackgroundTask(_at_once, platform, kept["id"]) if new and kept["ours"] else None
    return JSONResponse({"received": True, "duplicate": not new}, background=task)


async def _at_once(platform: Platform, event_id: str) -> None:
    """Deal with it now that the answer is out; under load, leave it to the workers' sweep."""
    places = platform.shared(Stripe).places
    if places.locked():
        return
    async with places:
        try:
            await attempt(platform, event_id)
        except DependencyError as error:
            log.warning("stripe_event_left_to_sweep", reason=error.detail)

"""/billing: what a user buys, and what has become of it."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from service.access.limits import Admitted, SignedIn
from service.payments import checkout
from service.payments.errors import (
    already_subscribed,
    billing_disabled,
    no_subscription,
    not_for_sale,
    pack_not_found,
    payment_failed,
    return_url_refused,
)
from service.payments.schemas import (
    CheckoutRequest,
    Pack,
    PackList,
    PlanChange,
    PortalRequest,
    Redirect,
    Subscription,
    SubscriptionAnswer,
)
from service.payments.store import StripeStore, SubscriptionRow
from service.plans.errors import plan_not_found
from service.platform.errors import conflict, data_deletion_running, malformed_json, sign_in_required
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/billing", tags=["billing"])
_COMMON = (sign_in_required, billing_disabled)
_BODY = (malformed_json, return_url_refused)


def _shown(row: SubscriptionRow | None) -> SubscriptionAnswer:
    return SubscriptionAnswer(
        subscription=None if row is None else Subscription(**row.model_dump(exclude={"subscription_id"}))
    )


@router.get("/packs", summary="Credit packs", responses=responses())
async def list_packs(request: Request, _caller: Admitted) -> PackList:
    """Credits that can be bought with POST /billing/checkout. Public."""
    rows = await StripeStore(platform_of(request).database).packs()
    return PackList(packs=[Pack(**row.model_dump()) for row in rows])


@router.post(
    "/checkout",
    summary="Buy a plan or a pack",
    responses=responses(
        *_COMMON,
        *_BODY,
        plan_not_found,
        pack_not_found,
        not_for_sale,
        already_subscribed,
        data_deletion_running,
    ),
)
async def check_out(request: Request, user_id: SignedIn, wanted: CheckoutRequest) -> Redirect:
    """A page of Stripe's to pay on. Credits and plan come with the payment, not with the way back: the page is led back
    to `return_url` with `?checkout=success` or `canceled`."""
    url = await checkout.check_out(
        platform_of(request),
        user_id,
        plan_id=wanted.plan_id,
        pack_id=wanted.pack_id,
        return_url=wanted.return_url,
    )
    return Redirect(url=url)


@router.post(
    "/portal",
    summary="Cards and invoices",
    responses=responses(*_COMMON, *_BODY, data_deletion_running),
)
async def open_portal(
    request: Request,
    user_id: SignedIn,
    wanted: Annotated[PortalRequest, Body()] = PortalRequest(),  # noqa: B008
) -> Redirect:
    """Stripe's own portal for this user: cards, invoices, addresses."""
    return Redirect(url=await checkout.open_portal(platform_of(request), user_id, wanted.return_url))


@router.get("/subscription", summary="The subscription", responses=responses(sign_in_required))
async def get_subscription(request: Request, user_id: SignedIn) -> SubscriptionAnswer:
    """The subscription that gives the plan, else the last one."""
    return _shown(await StripeStore(platform_of(request).database).subscription(user_id))


_CHANGES = (*_COMMON, no_subscription, conflict, payment_failed)


@router.post("/cancel", summary="Cancel at the period's end", responses=responses(*_CHANGES))
async def cancel(request: Request, user_id: SignedIn) -> SubscriptionAnswer:
    """The plan holds until the period's end, then the free one begins. Repeating it changes nothing."""
    return _shown(await checkout.cancel(platform_of(request), user_id, at_period_end=True))


@router.post("/resume", summary="Take a cancelation back", responses=responses(*_CHANGES))
async def resume(request: Request, user_id: SignedIn) -> SubscriptionAnswer:
    """The subscription goes on, as long as its last period has not ended."""
    return _shown(await checkout.cancel(platform_of(request), user_id, at_period_end=False))


@router.post(
    "/change",
    summary="Change the plan",
    responses=responses(*_CHANGES, malformed_json, plan_not_found, not_for_sale),
)
async def change_plan(request: Request, user_id: SignedIn, wanted: PlanChange) -> SubscriptionAnswer:
    """Another plan from now on. The time that is left is billed or credited at once, and credits go with the money: a
    larger plan adds the difference for that time, a smaller one takes it back."""
    return _shown(await checkout.change_plan(platform_of(request), user_id, wanted.plan_id))

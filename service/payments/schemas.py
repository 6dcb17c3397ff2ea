"""Questions and answers of the billing routes."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.platform.fields import NO_CONTROLS, Input

ReturnUrl = Annotated[
    str | None,
    Field(
        max_length=2000,
        pattern=NO_CONTROLS,
        description="where Stripe leads back to; its origin must be allowed. Default: the deployment's own page",
        examples=["https://app.example.com/billing"],
    ),
]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}$")]


class CheckoutRequest(Input):
    """Either a plan or a pack."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plan_id": "pro"}, {"pack_id": "pack-500"}]},
    )

    plan_id: Id | None = Field(None, description="a plan of GET /plans, by the month")
    pack_id: Id | None = Field(None, description="a pack of GET /billing/packs")
    return_url: ReturnUrl = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.plan_id is None) == (self.pack_id is None):
            raise ValueError("name either plan_id or pack_id")
        return self


class PortalRequest(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    return_url: ReturnUrl = None


class PlanChange(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"plan_id": "growth"}]})

    plan_id: Id


class Redirect(BaseModel):
    """Send the browser there; the address lives for some hours at most."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://checkout.stripe.com/c/pay/cs_test_a1"}]}
    )

    url: str


class Subscription(BaseModel):
    """A subscription as Stripe last told it."""

    plan_id: str
    status: str = Field(description="Stripe's: active, past_due, canceled, …", examples=["active"])
    entitled: bool = Field(
        description="it gives its plan; also while a failed payment is in its grace period"
    )
    current_period_start: datetime
    current_period_end: datetime
    cancel_at_period_end: bool = Field(
        description="it ends with the period; POST /billing/resume takes that back"
    )
    ended_at: datetime | None
    grace_until: datetime | None = Field(description="a payment has failed: until when the plan holds")
    created_at: datetime


class SubscriptionAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "subscription": {
                        "plan_id": "pro",
                        "status": "active",
                        "entitled": True,
                        "current_period_start": "2026-11-20T13:00:00Z",
                        "current_period_end": "2026-12-20T13:00:00Z",
                        "cancel_at_period_end": False,
                        "ended_at": None,
                        "grace_until": None,
                        "created_at": "2026-09-20T13:00:00Z",
                    }
                }
            ]
        }
    )

    subscription: Subscription | None = Field(description="the one that counts; null: there never was one")


class Pack(BaseModel):
    """Credits for sale. They do not expire."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "pack_id": "pack-500",
                    "name": "500 credits",
                    "credits": 500,
                    "price_cents": 1999,
                    "currency": "usd",
                }
            ]
        }
    )

    pack_id: str
    name: str
    credits: int
    price_cents: int = Field(description="in the currency's smallest unit")
    currency: str = Field(description="ISO 4217, lower case")


class PackList(BaseModel):
    packs: list[Pack]

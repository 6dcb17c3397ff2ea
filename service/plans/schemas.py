"""Plans and quotes as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.platform.fields import MAX_CLAIM, Input


class PlanOffer(BaseModel):
    """What a plan costs and allows. Null means unlimited, of `price_cents` by agreement."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["basic"])
    name: str
    rank: int = Field(description="order of display; more is an upgrade")
    description: str
    features: list[str] = Field(description="lines for a page of prices")
    price_cents: int | None = Field(description="a month, in hundredths of the currency")
    currency: str = Field(examples=["usd"])
    on_sale: bool = Field(description="whether it can be bought online")
    signup_credits: int
    monthly_credits: int
    generations_per_day: int | None = Field(description="jobs in a UTC day; hits do not count")
    generations_per_month: int | None = Field(description="jobs in a UTC month")
    high_res_exports_per_month: int | None = Field(
        description="results planned larger than working_side; with 0 all work is done at working_side"
    )
    failures_per_day: int | None = Field(
        description="jobs in a UTC day that may end by the caller's doing: other bytes than announced, a picture that "
        "cannot be worked on, canceled while running"
    )
    bulk: bool = Field(description="several ops at once")
    campaigns: bool
    storage_bytes: int | None
    max_running: int = Field(description="jobs of one user at work at once")
    max_pending: int = Field(description="unfinished jobs of one user at once")
    max_pixels: int | None = Field(description="width x height of an input; null: what the service takes")
    priority: int = Field(description="under load, jobs of plans with less are refused first")
    weight: int = Field(description="share of the queue: twice as much, twice as many jobs while others wait")
    watermark: bool = Field(description="whether results are previews")
    working_side: int = Field(description="pixels")
    api_access: bool
    keep_days: int = Field(description="longest keep_for_days")
    versions: int = Field(description="largest versions_to_keep")
    persistent: bool = Field(description="whether there is a library")
    promote_price: int = Field(description="credits")
    seats: int = Field(description="members of a team")


class PlanList(BaseModel):
    """The plans on sale, by rank."""

    plans: list[PlanOffer]


class QuoteRequest(Input):
    """What shall be done, and to what, as far as it is known."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "op_key": "upscale-v2:factor-2",
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "size": 2_345_678,
                    "width": 1200,
                    "height": 800,
                }
            ]
        },
    )

    op_key: Annotated[str, StringConstraints(max_length=512)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] | None = Field(
        None,
        description="of the file; with size, width and height it tells whether an intake would be a hit",
    )
    size: int | None = Field(None, gt=0, le=MAX_CLAIM, description="bytes")
    width: int | None = Field(None, gt=0, le=MAX_CLAIM, description="pixels")
    height: int | None = Field(None, gt=0, le=MAX_CLAIM, description="pixels")


class QuoteAnswer(BaseModel):
    """A price, held for ten minutes. If what is cached changes meanwhile, the other price is due, also as quoted."""

    model_config = ConfigDict(frozen=True)

    op_key: str = Field(description="canonical form")
    price: int = Field(description="credits that this would cost now")
    cached: bool = Field(description="whether the answer would come from the cache")
    job_price: int = Field(description="credits for the work")
    hit_price: int = Field(description="credits for an answer from the cache")
    expected_seconds: float | None = Field(
        description="median of such jobs lately and the wait in the queue; 0 for a hit, null when nobody knows"
    )
    quote_id: str = Field(description="for POST /intake, from the same caller and for the same op_key")
    expires_at: datetime

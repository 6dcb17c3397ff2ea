"""What a caller sees of their credits."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

MAX_PAGE = 100

Reason = Annotated[
    str,
    Field(
        description="signup_grant, subscription, purchase, admin_grant, refund: credits came in; hold, then capture or "
        "release: a job was paid for or cost nothing; expiry: their time was over; clawback: they were taken back; "
        "debt: they paid what could not be taken back before; opening, closing: a ledger begins or ends",
        examples=["hold"],
    ),
]


class ExpiringCredits(BaseModel):
    """Credits that end at one moment if they are not spent before."""

    amount: int
    expires_at: datetime


class CreditBalance(BaseModel):
    """All credits of the caller."""

    balance: int = Field(description="can be spent now", examples=[140])
    held: int = Field(description="set aside for unfinished jobs; not part of balance", examples=[4])
    debt: int = Field(
        description="taken back after it was spent; whatever comes in pays this first", examples=[0]
    )
    expiring: list[ExpiringCredits] = Field(
        description="the part of balance that ends, soonest first; it is spent in this order"
    )
    by_source: dict[str, int] = Field(
        description="balance by what gave it", examples=[{"subscription": 40, "signup_grant": 100}]
    )


class UsedGrant(BaseModel):
    """Credits that a movement put into a grant (+) or took out of it (-)."""

    grant_id: int
    source: str = Field(examples=["subscription"])
    reference: str = Field(description="what gave it", examples=["in_1Q9"])
    delta: int = Field(examples=[-4])
    expires_at: datetime | None


class CreditMovement(BaseModel):
    """A change of the balance, or the end of a hold."""

    reason: Reason
    delta: int = Field(description="credits that came in (+) or went (-)", examples=[-4])
    debt: int = Field(description="by how much the debt changed", examples=[0])
    balance_after: int = Field(examples=[136])
    reference: str = Field(description="what it was for: a job, a payment, a reason")
    job_id: UUID | None = Field(description="the job it was for, while that is known")
    created_at: datetime
    grants: list[UsedGrant] = Field(
        description="where its credits came from or went to; they add up to delta"
    )


class CreditHistory(BaseModel):
    """A page of movements, newest first."""

    movements: list[CreditMovement]
    next_cursor: str | None = Field(description="for the page after this one; null: this is the last")


class HistoryPage(BaseModel):
    """Which page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_PAGE, description="movements on a page")
    cursor: str | None = Field(None, max_length=200, description="next_cursor of the page before")

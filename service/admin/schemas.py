"""What operators ask for, and pages of what they get."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from service.admin.rows import (
    AbuseSignal,
    AdminJob,
    AdminUser,
    AuditEntry,
    BlockedHash,
    Decision,
    PictureInReview,
    RefusedJob,
    Role,
    SystemReport,
)
from service.health.schemas import Readiness
from service.jobs.store import Status
from service.library.image_schemas import Instant, utc
from service.maintenance.store import Violation
from service.platform.fields import Input, Moment

MAX_PAGE = 200
MAX_CREDITS = 1_000_000
LINE = r"^[^\x00-\x1f\x7f]+$"


def _visible(value: str) -> str:
    if not any(char.isprintable() for char in value):
        raise ValueError("must say something")
    return value


def _to_come(value: datetime) -> datetime:
    if value <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return value


Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=LINE),
    AfterValidator(_visible),
]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=LINE)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Category = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}$")]


class Query(BaseModel):
    """Which rows, and which page of them. All filters must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Paged(Query):
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="rows on a page")
    cursor: str | None = Field(None, max_length=200, description="next_cursor of the page before")


class UserFilter(Paged):
    query: Line | None = Field(None, description="an id, or a part of an address")
    plan: Line | None = Field(None, description="id of a plan")
    flagged: bool | None = None
    suspended: bool | None = Field(None, description="stopped by an operator")


class JobFilter(Paged):
    status: Status | None = None
    op: str | None = Field(
        None,
        pattern=r"^[a-z]{1,40}(-v[0-9]{1,4})?$",
        description="an op in the chain, with or without its version",
        examples=["bgremove"],
    )
    user: Line | None = Field(None, description="id or address of an account")
    error: str | None = Field(None, pattern=r"^[a-z0-9_]{1,60}$", description="code a job failed with")
    created_after: Instant | None = Field(None, description="this moment and later")
    created_before: Instant | None = Field(None, description="earlier than this moment")


class RefusedFilter(Paged):
    reviewed: Literal["false", "true", "all"] = Field("false", description="whether somebody has decided")


class ReviewFilter(Paged):
    """Pages of pictures in review."""


class BlockedFilter(Paged):
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{1,64}$", description="its beginning")
    category: Category | None = None


class AuditFilter(Query):
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="rows on a page")
    cursor: int | None = Field(None, ge=1, le=2**62, description="next_cursor of the page before")
    actor: Line | None = Field(None, description="id or address of an account, or cli:<user>")
    subject: Line | None = Field(None, description="id of a user or a job, or a sha256")
    action: str | None = Field(
        None, pattern=r"^[a-z_.]{1,60}$", description="its beginning", examples=["admin."]
    )


class UserPage(BaseModel):
    users: list[AdminUser]
    next_cursor: str | None = Field(description="null on the last page")


class JobPage(BaseModel):
    jobs: list[AdminJob]
    next_cursor: str | None = Field(description="null on the last page")


class RefusedPage(BaseModel):
    jobs: list[RefusedJob]
    next_cursor: str | None = Field(description="null on the last page")


class ReviewPage(BaseModel):
    pictures: list[PictureInReview]
    next_cursor: str | None = Field(description="null on the last page")


class BlockedPage(BaseModel):
    hashes: list[BlockedHash]
    next_cursor: str | None = Field(description="null on the last page")


class AuditPage(BaseModel):
    entries: list[AuditEntry]
    next_cursor: int | None = Field(description="null on the last page")


class AbuseList(BaseModel):
    accounts: list[AbuseSignal] = Field(description="those with most signals first, at most 200")


class Act(Input):
    """Why something is done. It goes into the audit log with who did it and what was before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "ticket 417"}]})

    reason: Reason = Field(description="1 to 500 characters")


class UserPlanChange(Act):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plan_id": "pro", "reason": "trial until Friday"}]}
    )

    plan_id: Line


class CreditsGiven(Act):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"amount": 50, "reference": "ticket-417", "reason": "lost a day"}]}
    )

    amount: int = Field(ge=1, le=MAX_CREDITS)
    reference: Line = Field(description="repeating a request with the same one changes nothing")
    expires_at: Annotated[Moment, AfterValidator(utc), AfterValidator(_to_come)] | None = Field(
        None, description="until when they can be spent; null: for good"
    )


class CreditsTaken(Act):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"amount": 50, "reference": "ticket-418", "reason": "given twice"}]}
    )

    amount: int = Field(ge=1, le=MAX_CREDITS)
    reference: Line = Field(
        description="repeating a request with the same one changes nothing; that of an earlier gift takes "
        "at most what it gave"
    )


class BlockRequest(Act):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sha256": "0" * 64, "category": "copyright", "reason": "claim of 20 November"}]
        }
    )

    sha256: Sha256
    category: Category = Field(description="what the caller is told")


class UnblockRequest(Act):
    """Of the command line; the API has the hash in its path."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sha256": "0" * 64, "reason": "withdrawn"}]})

    sha256: Sha256


class ReviewRequest(Act):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"decision": "block", "category": "nudity", "reason": "clear case"}]}
    )

    decision: Decision
    category: Category | None = Field(None, description="for block; that of the refusal where it is left out")


class BlockAnswer(BaseModel):
    """What was taken away. `forgotten` false: answers in Redis die within minutes; repeat it to be sure."""

    sha256: str
    outputs: int
    originals: int
    uploads: int
    forgotten: bool


class RefundAnswer(BaseModel):
    refunded: bool = Field(description="false: it was refunded before")


class StaffMember(BaseModel):
    """The caller as an operator."""

    user_id: UUID
    role: Role


class SystemPage(BaseModel):
    """The state of the system."""

    version: str
    release: str
    environment: Literal["development", "production"]
    readiness: Readiness
    report: SystemReport


class InvariantReport(BaseModel):
    """Sentences about money and state that must hold; empty when they do."""

    violations: list[Violation]


class PictureDecision(Act):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"decision": "approve", "reason": "a sculpture"}]}
    )

    decision: Literal["approve", "refuse"]
    category: Category = Field("adult", description="for refuse: what callers are told")

"""What operators see: documents of 99_admin.sql, as the API and the command line give them out."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from service.jobs.store import Status
from service.maintenance.store import QueueStats
from service.platform.database import Row

Role = Literal["admin", "support"]
Decision = Literal["keep", "block"]
PictureKind = Literal["output", "original"]


class AdminRow(Row):
    """Somebody who may use the admin API."""

    user_id: UUID
    email: str | None
    role: Role
    granted_by: str
    created_at: datetime


class RoleChange(Row):
    """The role of an account, and the one it had before; None: none."""

    user_id: UUID
    role: Role | None
    before: Role | None


class Review(Row):
    """What an operator decided about a refused job."""

    decision: Decision
    reason: str
    created_at: datetime


class AdminJob(Row):
    """A job of anybody."""

    job_id: UUID
    user_id: UUID | None = Field(description="null: a visitor's")
    email: str | None
    status: Status
    op_key: str
    variant: str
    queue: str
    priority: int
    filename: str
    sha256: str
    size: int
    width: int
    height: int
    price: int
    charged: int
    attempts: int
    max_attempts: int
    error: dict[str, Any] | None
    replay_of: UUID | None = Field(description="the ended job that an operator repeated with this one")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Event(Row):
    """A transition of a job."""

    id: int
    type: str
    attempt: int
    created_at: datetime


class Movement(Row):
    """A row of the ledger that is about a job."""

    reason: str
    delta: int
    created_at: datetime


class AdminJobDetail(AdminJob):
    """A job with all that is known of it."""

    worker: str | None
    lease_expires_at: datetime | None
    step: str | None
    progress: float
    run_at: datetime
    expires_at: datetime
    upload_expires_at: datetime | None
    request_id: str | None
    wants_persist: bool
    output_id: UUID | None
    bytes_kept: bool = Field(description="whether a repetition would find the bytes")
    blocked: str | None = Field(description="the category under which the sha256 is blocked")
    replays: list[UUID]
    events: list[Event]
    ledger: list[Movement]
    review: Review | None


class RefusedJob(AdminJob):
    """A job that moderation refused."""

    category: str | None
    blocked: str | None = Field(description="the category under which the sha256 is blocked by now")
    review: Review | None


class PictureInReview(Row):
    """A picture that an operator is to decide about: an output, or an original that the library keeps."""

    kind: PictureKind
    id: UUID = Field(description="of the output, or of the original's image")
    image_id: UUID | None
    user_id: UUID | None = Field(description="null: a visitor's or a team's")
    team_id: UUID | None
    email: str | None
    filename: str | None
    sha256: str = Field(description="of the upload: what is blocked when the picture is refused")
    op_key: str | None = Field(description="null: an original")
    score: float | None = Field(
        description="how probably it is pornographic, 0 to 1; null: another moderator is in doubt"
    )
    bucket: str = Field(exclude=True)
    path: str = Field(exclude=True)
    picture_url: str | None = Field(None, description="shows it for some minutes; null: its bytes are gone")
    created_at: datetime


class BlockedHash(Row):
    """Bytes that are refused."""

    sha256: str
    category: str
    reason: str
    created_by: str
    created_at: datetime


LaneState = Literal["idle", "ready", "delayed", "full", "network", "blocked", "paused"]


class Lane(Row):
    """Whose jobs stand in a queue: a user's, a team's, or those of visitors at one address."""

    lane_id: int
    queue: str
    user_id: UUID | None
    email: str | None
    team_id: UUID | None
    plan_id: str
    weight: int = Field(description="its share of the claims, relative to other lanes that wait")
    state: LaneState = Field(
        description="ready: may be claimed from; delayed: a retry is to come; full: as many run as the plan allows; "
        "network: as many run as the visitor's network may have; blocked: the account may not be used"
    )
    waiting: int
    running: int
    due_at: datetime | None = Field(description="since when, or until when, its first job waits")
    paused_at: datetime | None


class QueuePause(Row):
    """Whether a queue is held back; null: it is not."""

    queue: str
    paused_at: datetime | None


class Lanes(Row):
    """Who waits for how much."""

    lanes: list[Lane] = Field(description="those with most waiting first, at most 200")
    paused_queues: list[QueuePause]


class AuditEntry(Row):
    """A row of the audit log. `data` of an operator's act: by, reason, before, after."""

    id: int
    actor: UUID | None
    email: str | None
    action: str
    subject: str
    data: dict[str, Any]
    created_at: datetime


class AbuseSignal(Row):
    """What of an account looks like abuse. Jobs of a week, the fullest minute of a day, accounts at one address."""

    user_id: UUID
    email: str | None = None
    plan_id: str | None = None
    jobs: int
    refused: int
    refusal_ratio: float | None
    burst: int
    accounts: int
    signals: list[str]


class AdminUser(Row):
    """An account. Credits; `debt`: what was taken back beyond the balance."""

    user_id: UUID
    email: str | None
    plan_id: str
    balance: int
    debt: int
    flagged_at: datetime | None
    flag_reason: str | None
    state: Literal["active", "suspended", "banned", "deleted"] = "active"
    suspended_at: datetime | None = Field(None, description="stopped by an operator")
    suspend_reason: str | None = None
    banned_until: datetime | None = Field(None, description="in Supabase Auth; null: for good, or not banned")
    role: Role | None
    created_at: datetime


class Grant(Row):
    """Credits that were given, and what is left of them; `clawed`: taken back."""

    grant_id: int
    source: str
    reference: str
    amount: int
    remaining: int
    clawed: int
    expires_at: datetime | None
    note: str | None
    created_at: datetime


class KeyName(Row):
    """An API key as its owner recognises it."""

    name: str
    prefix: str
    status: str
    scopes: list[str]
    last_used_at: datetime | None


class SubscriptionFacts(Row):
    """The subscription that counts for an account."""

    subscription_id: str
    plan_id: str
    status: str
    entitled: bool
    current_period_end: datetime
    cancel_at_period_end: bool
    grace_until: datetime | None


class AdminUserDetail(AdminUser):
    """An account with what an operator asks about it first: the last 50 grants and 20 jobs."""

    storage_bytes: int
    subscription: SubscriptionFacts | None
    keys: list[KeyName]
    grants: list[Grant]
    jobs: list[AdminJob]
    abuse: AbuseSignal | None


class CreditChange(Row):
    """An account's credits after an act; `repeated`: this reference was seen before, and nothing happened."""

    repeated: bool
    balance: int
    debt: int


class ClassStats(QueueStats):
    """Depth of one queue for one class of callers."""

    queue: str
    caller: Literal["anonymous", "free", "paid"]


class OpenTombstones(Row):
    open: int
    oldest_seconds: float | None


class Inbox(Row):
    """Events of Stripe that have not been handled; `failed`: those that were given up."""

    waiting: int
    failed: int
    oldest_seconds: float


class SystemReport(Row):
    """What is waiting, late or open; ages in seconds."""

    queues: dict[str, QueueStats]
    classes: list[ClassStats]
    awaiting_upload: int
    oldest_unfinished_seconds: float | None
    leases_expired: int
    data_requests: int = Field(description="exports and deletions under way")
    refused_unreviewed: int
    in_review: int = Field(0, description="pictures that wait for a decision")
    tombstones: OpenTombstones
    stripe_inbox: Inbox
    postgres: str
    migrations: list[str] = Field(description="newest first")

"""What callers see of a job."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.cache.store import Moderation, Scan
from service.jobs.store import Status, WaitingFor
from service.ops.outputs import Features, StepReport
from service.platform.errors import Problem

MAX_BATCH = 8
"""Results of one picture that may be asked for in one call."""


class Output(BaseModel):
    """A finished picture. Sizes in pixels and bytes."""

    model_config = ConfigDict(frozen=True)

    output_id: UUID
    image_id: UUID | None = Field(None, description="the original it was made from; null for visitors")
    version: int | None = Field(
        None, description="counts the versions in the library; null for ephemeral outputs"
    )
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    content_type: str
    size: int = Field(description="bytes")
    sha256: str = Field(description="hex digest of the picture's bytes")
    scan: Scan = Field(
        "none", description="virus scan: clean; none: not asked for; unscanned: the scanner was away"
    )
    moderation: Moderation = Field(
        "none",
        description="what is shown: clean; approved by an operator; review: yours alone until an operator has decided; "
        "none: nobody looked",
    )
    report: tuple[StepReport, ...] = Field(
        (),
        description="what steps of the chain say of their results, in its order; not every step says something",
    )
    features: Features | None = Field(
        None, description="measured on the picture; null for one of before that was done"
    )


class JobDocument(BaseModel):
    """A job at this moment. URLs are signed and short-lived: ask again rather than keep them."""

    model_config = ConfigDict(frozen=True)

    job_id: UUID
    status: Status
    op_key: str = Field(description="canonical form")
    ahead: int | None = Field(
        None, description="while queued, about how many jobs start before it; 0 is next", examples=[3]
    )
    expected_start_at: datetime | None = Field(
        None, description="while queued, at the pace of the last minute; null when that tells nothing"
    )
    waiting_for: WaitingFor | None = Field(
        None,
        description="while queued: own_concurrency, as many of your jobs run as your plan allows; others_ahead; "
        "vendor_limit; paused, by an operator; null: nothing, it is next",
    )
    progress: float = Field(0, ge=0, le=1)
    step: str | None = Field(None, description="what the worker is doing", examples=["pixels"])
    attempts: int = Field(0, description="how often a worker has begun")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = Field(
        None, description="when the output is removed; before that, when an unfinished job is given up"
    )
    output_urls: list[str] = Field(default_factory=list)
    thumbnail_url: str | None = Field(None, description="WebP, 256 px on the longer side")
    download_url: str | None = Field(
        None, description="saves the output under a name made from the file's own and the ops"
    )
    output: Output | None = Field(None, description="absent until done, and again once the output is removed")
    error: Problem | None = Field(None, description="why the job failed, or why it is being tried again")
    charged: int = Field(0, description="credits")
    hint: str | None = Field(None, description="for people: how a visitor can keep the result")

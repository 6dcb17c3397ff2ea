"""Bodies of the routes of usage."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field


class Counts(BaseModel):
    """Sums. Credits, millionths of a US dollar, bytes."""

    model_config = ConfigDict(frozen=True)

    jobs: int = Field(0, description="jobs that were made")
    generations: int = Field(
        0, description="of these, all that did not end without a picture or find one in the cache"
    )
    high_res_exports: int = 0
    failures: int = Field(0, description="jobs that ended by the caller's doing; they cost no credits")
    cache_hits: int = Field(0, description="answers from the cache; counted within half a minute")
    credits: int = Field(0, description="credits that were taken")
    saved_credits: int = Field(0, description="credits that hits would have cost as jobs")
    vendor_cost_micros: int = 0
    saved_vendor_cost_micros: int = 0
    bytes_stored: int = Field(0, description="bytes of outputs and originals that were written")
    bytes_served: int = Field(
        0, description="bytes that download URLs were handed out for; counted as cache_hits are"
    )


class Day(Counts):
    """One UTC day."""

    day: date


class Averages(BaseModel):
    """Costs per generation and per design: a picture, however many ops it went through. Null: there are none."""

    model_config = ConfigDict(frozen=True)

    credits_per_job: float | None
    credits_per_design: float | None
    vendor_cost_micros_per_job: float | None
    vendor_cost_micros_per_design: float | None


class Quota(BaseModel):
    """What is used of a limit of the plan now."""

    model_config = ConfigDict(frozen=True)

    policy: str = Field(examples=["generations_per_day"])
    limit: int | None = Field(description="null: unlimited")
    used: int
    resets_at: datetime | None = Field(description="when it begins anew; null for storage_bytes")


class Library(BaseModel):
    """Whether the library takes anything new."""

    model_config = ConfigDict(frozen=True)

    read_only: bool = Field(
        description="more is stored than the plan allows: nothing is added, nothing is deleted"
    )
    over_quota_since: datetime | None
    kept_until: datetime | None = Field(description="until then the operator promises to keep all of it")


class Usage(BaseModel):
    """Usage by day, what has been used of the plan, and whether the library is read-only."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    days: list[Day] = Field(description="days with any usage, oldest first")
    total: Counts
    designs: int = Field(description="different pictures that were worked on")
    averages: Averages
    quotas: list[Quota]
    library: Library


class Savings(BaseModel):
    """What the cache saved."""

    model_config = ConfigDict(frozen=True)

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    cache_hits: int
    generations: int
    hit_ratio: float | None = Field(
        description="hits among all pictures that were asked for; null: none were"
    )
    saved_credits: int
    saved_vendor_cost_micros: int

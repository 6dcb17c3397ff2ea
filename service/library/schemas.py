"""What callers say about their library, and what they are told."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.library.image_schemas import SignedVersion
from service.platform.fields import Id, Input
from service.usage.schemas import Library

MAX_KEEP_DAYS = 30
MAX_CLAIMS = 50
OpKey = Annotated[str, StringConstraints(max_length=512)]


class Settings(BaseModel):
    """What a user has chosen."""

    model_config = ConfigDict(frozen=True)

    keep_original: bool = Field(description="keep verified originals in the library (paid plans)")
    keep_full_res: bool = Field(description="work at full resolution; otherwise at the plan's working_side")
    versions_to_keep: int = Field(description="newest library versions of an image that stay, 1 to 200")
    archive_after_days: int | None = Field(description="archive images this long after; null: never")


class SettingsChange(Input):
    """The settings to change; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"versions_to_keep": 5}]})

    keep_original: bool = True
    keep_full_res: bool = True
    versions_to_keep: int = Field(20, ge=1, le=200)
    archive_after_days: int | None = Field(None, ge=1, le=3650)


class Plan(BaseModel):
    """What the user's plan allows. Prices in credits, sides in pixels."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    persistent: bool = Field(description="whether results can be kept in the library")
    working_side: int = Field(description="longest side worked at where keep_full_res is off, pixels")
    promote_price: int = Field(description="credits for each promoted output")
    watermark: bool = Field(description="whether results are previews with a watermark")
    max_running: int
    max_pending: int
    generations_per_day: int | None = Field(description="null: unlimited; GET /usage tells what is used")
    generations_per_month: int | None
    high_res_exports_per_month: int | None
    bulk: bool = Field(description="whether several ops may be asked for at once")
    campaigns: bool
    storage_bytes: int | None = Field(description="live bytes before the library is read-only")
    max_pixels: int | None = Field(description="width x height of an input; null: what the service takes")
    api_access: bool
    keep_days: int = Field(description="longest keep_for_days")
    versions: int = Field(description="largest versions_to_keep")


class Me(BaseModel):
    """The caller: plan, settings, credits."""

    model_config = ConfigDict(frozen=True)

    user_id: UUID
    plan: Plan
    settings: Settings
    credits: int = Field(description="balance")
    library: Library = Field(description="whether it takes anything new")


class KeepRequest(Input):
    """How long to keep an ephemeral output."""

    keep_for_days: int = Field(
        ge=1, le=MAX_KEEP_DAYS, description="days from now; the service may allow fewer", examples=[7]
    )


class PromoteRequest(Input):
    """What to take into the library: an output, or that of a job."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"job_id": "5f0c1f0e-94a4-4b6c-9d0b-3f3a8d1c2b7e"}]},
    )

    job_id: Id | None = None
    output_id: Id | None = None
    collection_id: Id | None = Field(None, description="a collection of yours to put the image in, too")
    team_id: Id | None = Field(
        None,
        description="a team to give the image to, with all its versions; the collection is of that team then",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.job_id is None) == (self.output_id is None):
            raise ValueError("give either job_id or output_id")
        return self


class OutputDocument(SignedVersion):
    """One output of the caller's."""

    image_id: UUID
    team_id: UUID | None = Field(None, description="the team whose picture it is; null: the caller's own")
    current: bool = Field(description="whether its image shows this version")


class ClaimRequest(Input):
    """Jobs that were made without signing in."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"job_ids": ["5f0c1f0e-94a4-4b6c-9d0b-3f3a8d1c2b7e"]}]},
    )

    job_ids: list[Id] = Field(min_length=1, max_length=MAX_CLAIMS)


class ClaimedJob(BaseModel):
    """What a claim has brought. The ids differ where visitors share the job: the caller has one of their own then."""

    claimed_id: UUID = Field(description="as presented")
    job_id: UUID = Field(description="of the caller's job")


class ClaimAnswer(BaseModel):
    """The jobs that are the caller's now; a repeated claim lists them again."""

    job_ids: list[UUID] = Field(description="of the caller's jobs, each once")
    claims: list[ClaimedJob] = Field(description="what each of the presented ids has become")

"""What callers say about their library, and what they are told."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.library.image_schemas import SignedVersion
from service.platform.fields import Id, Input

MAX_KEEP_DAYS = 30
MAX_CLAIMS = 50
OpKey = Annotated[str, StringConstraints(max_length=512)]


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

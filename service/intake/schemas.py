"""What a client says about its file, and what it is told."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from service.jobs.schemas import MAX_BATCH, Output
from service.jobs.store import Status
from service.platform.errors import Problem
from service.platform.fields import MAX_CLAIM, Composed, Id, Input

_CLAIM: dict[str, JsonValue] = {
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "filename": "mug.jpg",
    "content_type": "image/jpeg",
    "size": 2_345_678,
    "width": 3000,
    "height": 4000,
}


class PictureClaim(Input):
    """What a client says about a file. A worker verifies every word of it."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] = Field(
        description="hex digest of the file's bytes"
    )
    filename: Annotated[
        str, Composed, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")
    ] = Field(description="what the user calls it; kept as a label, never used as a path")
    size: int = Field(gt=0, le=MAX_CLAIM, description="bytes")
    content_type: Annotated[str, StringConstraints(max_length=100, pattern=r"^[\x20-\x7e]*$")] | None = Field(
        None, description="media type, if the client has sniffed it", examples=["image/jpeg"]
    )
    width: int = Field(gt=0, le=MAX_CLAIM, description="pixels, as encoded or as shown")
    height: int = Field(gt=0, le=MAX_CLAIM, description="pixels, as encoded or as shown")
    wants_persist: bool = Field(False, description="keep the output in the library, where the plan allows it")
    team_id: Id | None = Field(
        None, description="a team to make it for: the result is kept in its library; costs are the caller's"
    )
    keep_for_days: int | None = Field(
        None, ge=1, le=30, description="keep an ephemeral output this long; for signed-in users", examples=[7]
    )


OpKey = Annotated[str, StringConstraints(max_length=512)]


class IntakeRequest(PictureClaim):
    """A claim about a file, and what shall be done with it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_CLAIM, "op_key": "bgremove-v2+shadow-v2+flatten-v1"}]}
    )

    op_key: OpKey = Field(
        description="what to do: name-v1:param-value, steps joined by +; see GET /ops",
        examples=["resize-v1:width-800"],
    )
    quote_id: Annotated[str, StringConstraints(max_length=1000)] | None = Field(
        None, description="of POST /quote: its prices hold, whatever has changed since"
    )


class BatchRequest(PictureClaim):
    """A claim about a file, and several things that shall be made of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_CLAIM, "op_keys": ["bgremove-v2+flatten-v1", "crop-v1:aspect-4x5+resize-v1:width-1080"]}
            ]
        }
    )

    op_keys: list[OpKey] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description="what to make, each an op_key; the same one twice is made once",
    )


_JOB = "7c0e2f4a-4f7e-4c38-9d2f-1b7a4a7d2c11"
_NAME = "2f1d9c57-0b7d-4a39-8f35-6a2e51c0d9be.5e0c9a17"
_STORAGE = "https://project.supabase.co/storage/v1"
_ANSWERS: list[JsonValue] = [
    {
        "cached": False,
        "job_id": _JOB,
        "status": "awaiting_upload",
        "op_key": "bgremove-v2",
        "expires_at": "2026-11-20T13:15:00Z",
        "upload_url": f"{_STORAGE}/object/upload/sign/uploads-ephemeral/{_JOB}/original?token=…",
        "upload_token": "…",
        "upload_bucket": "uploads-ephemeral",
        "upload_path": f"{_JOB}/original",
        "upload_expires_at": "2026-11-20T15:00:00Z",
        "resumable_url": f"{_STORAGE}/upload/resumable/sign",
    },
    {
        "cached": True,
        "job_id": _JOB,
        "status": "done",
        "op_key": "bgremove-v2",
        "expires_at": "2026-11-21T13:00:00Z",
        "output_urls": [f"{_STORAGE}/object/sign/outputs-ephemeral/{_NAME}.webp?token=…"],
        "thumbnail_url": f"{_STORAGE}/object/sign/outputs-ephemeral/{_NAME}.thumb.webp?token=…",
    },
]


class IntakeAnswer(BaseModel):
    """Either a hit, with URLs at once, or a job, with a URL to upload to unless nothing needs to be uploaded."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [*_ANSWERS]})

    cached: bool
    job_id: UUID = Field(
        description="for GET /jobs/{job_id} and POST /jobs/claim; visitors who get the same hit share one"
    )
    status: Status
    op_key: str = Field(description="canonical form")
    expires_at: datetime | None = Field(
        None, description="hit: when the output is removed; job: when an unfinished job is given up"
    )
    charged: int = Field(0, description="credits")
    output_urls: list[str] = Field(default_factory=list)
    thumbnail_url: str | None = None
    download_url: str | None = Field(None, description="saves the output under a name of its own")
    output: Output | None = None
    upload_url: str | None = Field(None, description="PUT the bytes here, with their Content-Type")
    upload_token: str | None = Field(
        None, description="for uploadToSignedUrl, or x-signature of resumable_url"
    )
    upload_bucket: str | None = None
    upload_path: str | None = None
    upload_expires_at: datetime | None = Field(None, description="when upload_url stops answering")
    resumable_url: str | None = Field(None, description="TUS endpoint for the same upload, for large files")
    hint: str | None = Field(None, description="for people: how a visitor can keep the result")


class BatchItem(BaseModel):
    """What became of one op_key: an answer as of POST /intake, or the problem that stands in its way."""

    model_config = ConfigDict(frozen=True)

    op_key: str = Field(description="as it was asked for")
    answer: IntakeAnswer | None = None
    problem: Problem | None = None


class BatchAnswer(BaseModel):
    """One item for each op_key, in their order. Answers that await an upload share one: those with the same
    `upload_path` need the bytes once."""

    model_config = ConfigDict(frozen=True)

    items: list[BatchItem]
    charged: int = Field(0, description="credits, of all hits together")


MAX_RERUNS = 8


class RerunRequest(Input):
    """One op, or several to compare."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"op_keys": ["bgremove-v2", "bgremove-v2+shadow-v2"]}]},
    )

    op_key: OpKey | None = None
    op_keys: list[OpKey] | None = Field(None, min_length=1, max_length=MAX_RERUNS)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.op_key is None) == (self.op_keys is None):
            raise ValueError("give either op_key or op_keys")
        return self

    @property
    def wanted(self) -> list[str]:
        return self.op_keys if self.op_keys is not None else [self.op_key or ""]


class RerunResult(BaseModel):
    """What became of one op: `answer` as of an intake, or why it was refused."""

    model_config = ConfigDict(frozen=True)

    op_key: str = Field(description="canonical form")
    answer: IntakeAnswer | None = None
    error: Problem | None = None


class RerunAnswer(BaseModel):
    """One result for each op, doubles left out."""

    results: list[RerunResult]

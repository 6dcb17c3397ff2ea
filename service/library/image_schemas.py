"""What a user asks of their images, and what they see of them."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from service.jobs.schemas import Output
from service.platform.fields import MAX_BULK, Id, Input

MAX_PAGE = 100


def utc(value: datetime) -> datetime:
    """UTC, which is also what a time without a zone means."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside the years 1 to 9999") from None


Instant = Annotated[datetime, AfterValidator(utc)]


class ImageFilter(BaseModel):
    """Which images, and which page of them. All filters must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(24, ge=1, le=MAX_PAGE, description="images on a page")
    cursor: str | None = Field(None, max_length=200, description="next_cursor of the page before")
    archived: Literal["false", "true", "all"] = Field("false", description="whether the archive is listed")
    op: str | None = Field(
        None,
        pattern=r"^[a-z]{1,40}$",
        description="name of an op in the chain of any output",
        examples=["bgremove"],
    )
    team_id: UUID | None = Field(None, description="the library of a team, in place of the caller's own")
    collection_id: UUID | None = None
    created_after: Instant | None = Field(None, description="this moment and later")
    created_before: Instant | None = Field(None, description="earlier than this moment")
    q: str | None = Field(
        None,
        max_length=200,
        pattern=r"^[^\x00]*$",
        description='words of filename or prompt, or parts of words; "a phrase", or, -without',
        examples=["white mug"],
    )


class ImageVersion(Output):
    """A finished picture of an image."""

    op_key: str
    job_id: UUID | None = None
    created_at: datetime
    expires_at: datetime | None = Field(None, description="null: kept until it is deleted")


class SignedVersion(ImageVersion):
    """A finished picture with URLs, signed and short-lived."""

    url: str
    thumbnail_url: str
    download_url: str = Field(description="saves it under a name made from the file's own and the ops")


class Image(BaseModel):
    """An original that a worker has verified, and the version of it that is shown."""

    model_config = ConfigDict(frozen=True)

    image_id: UUID
    team_id: UUID | None = Field(None, description="the team whose picture it is; null: the caller's own")
    filename: str
    prompt: str | None = None
    sha256: str = Field(description="hex digest of the original")
    content_type: str
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    size: int = Field(description="bytes")
    created_at: datetime
    archived_at: datetime | None = None
    original_kept: bool = Field(description="whether the original itself is in the library")
    versions: int = Field(description="finished pictures that are there")
    collection_ids: list[UUID]
    current: ImageVersion | None = Field(None, description="null when no finished picture is left")
    thumbnail_url: str | None = Field(
        None, description="of `current`: WebP, 256 px on the longer side, signed"
    )


class ImagePage(BaseModel):
    """A page of images, newest first."""

    images: list[Image]
    next_cursor: str | None = Field(description="null on the last page")


class ImageDocument(Image):
    """An image with its versions, newest first (at most 200), and the original where it is kept."""

    outputs: list[SignedVersion]
    original_url: str | None = Field(
        None, description="signed, for two minutes; downloads under its own name"
    )


class BulkRequest(Input):
    """One thing to do to many images."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"action": "archive", "image_ids": ["5f0c1f0e-94a4-4b6c-9d0b-3f3a8d1c2b7e"]}]
        },
    )

    action: Literal["delete", "move", "archive", "unarchive"]
    image_ids: list[Id] = Field(min_length=1, max_length=MAX_BULK)
    collection_id: Id | None = Field(
        None, description="for `move`, and required there: the collection to be in alone; null: in none"
    )

    @model_validator(mode="after")
    def _collection_belongs_to_move(self) -> Self:
        if (self.action == "move") != ("collection_id" in self.model_fields_set):
            raise ValueError("`move` needs collection_id, which may be null; the other actions take none")
        return self


class BulkResult(BaseModel):
    """What became of one image."""

    image_id: UUID
    done: bool
    code: Literal["image_not_found"] | None = Field(
        None, description="why not; a repeated delete ends so, too"
    )


class BulkAnswer(BaseModel):
    """One result for each id, in the order they were named, doubles left out."""

    results: list[BulkResult]

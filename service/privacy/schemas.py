"""Deletions and exports as callers see them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.platform.errors import Problem
from service.platform.fields import Input


class DeletionRequest(Input):
    """The body of DELETE /me/data."""

    confirm: Literal["delete my data"] = Field(description="exactly these words")
    delete_account: bool = Field(False, description="the account as well, where the platform allows it")


class Kept(BaseModel):
    """Something that a deletion leaves, and why."""

    model_config = ConfigDict(frozen=True)

    what: str = Field(examples=["credit_ledger"])
    rows: int
    why: str


class DeletionReceipt(BaseModel):
    """What a deletion has done."""

    model_config = ConfigDict(frozen=True)

    rows: dict[str, int] = Field(description="deleted rows by table", examples=[{"jobs": 12, "images": 5}])
    objects: dict[str, int] = Field(
        description="removed objects by bucket", examples=[{"user-library": 21, "uploads-ephemeral": 3}]
    )
    kept: list[Kept]
    account: Literal["kept", "deleted", "operator"] = Field(
        description="operator: this platform lets only its operator delete it, who has to be asked"
    )


class ExportReceipt(BaseModel):
    """What an export holds."""

    model_config = ConfigDict(frozen=True)

    files: int = Field(description="pictures")
    bytes: int = Field(description="size of the pictures")
    left_out: int = Field(description="pictures that are not in it; manifest.json says why")
    rows: dict[str, int] = Field(description="rows by table")


class RequestDocument(BaseModel):
    """How far a request is."""

    model_config = ConfigDict(frozen=True)

    request_id: UUID
    status: Literal["queued", "running", "done", "error"]
    progress: float = Field(ge=0, le=1)
    step: str | None = Field(None, description="what the worker is doing", examples=["objects"])
    error: Problem | None = Field(
        None, description="why it failed, or why it is being tried again; ask once more to start anew"
    )
    created_at: datetime
    finished_at: datetime | None = None


class DeletionDocument(RequestDocument):
    receipt: DeletionReceipt | None = Field(None, description="once done")
    expires_at: datetime | None = Field(None, description="when this receipt is removed")


class ExportDocument(RequestDocument):
    receipt: ExportReceipt | None = Field(None, description="once done")
    expires_at: datetime | None = Field(None, description="when the file is removed")
    size: int | None = Field(None, description="bytes of the file")
    url: str | None = Field(None, description="signed, for 15 minutes at most; ask again rather than keep it")

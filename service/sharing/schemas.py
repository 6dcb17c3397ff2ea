"""What an owner says about a link, and what they are told."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.platform.fields import Input
from service.sharing.passwords import MAX_CHARACTERS
from service.sharing.store import ShareStatus

MIN_SECONDS = 60
MAX_SECONDS = 30 * 86_400


class ShareRequest(Input):
    """A link that ends by itself, by time and, if wanted, by views."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"expires_in": 86_400, "max_views": 10}, {"expires_in": 3600}]},
    )

    expires_in: int = Field(ge=MIN_SECONDS, le=MAX_SECONDS, description="seconds")
    max_views: int | None = Field(None, ge=1, le=1_000_000, description="views after which the link ends")
    password: str | None = Field(
        None, min_length=8, max_length=MAX_CHARACTERS, description="whoever opens the link must know it"
    )


class Share(BaseModel):
    """A share link as its owner sees it."""

    model_config = ConfigDict(frozen=True)

    share_id: UUID
    output_id: UUID | None = Field(description="null once the output is deleted")
    status: ShareStatus = Field(description="active, or the code that opening the link answers with")
    has_password: bool
    expires_at: datetime
    max_views: int | None
    views: int
    last_viewed_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    output_expires_at: datetime | None = Field(
        description="when the output itself is removed, which ends the link; null: not by itself"
    )
    locked_until: datetime | None = Field(
        None,
        description="until when no password is taken, since too many wrong ones were tried; POST /shares/{id}/renew "
        "ends that, with a new address",
    )


class NewShare(Share):
    """A link at the only moment when its address is known."""

    url: str = Field(
        description="/s/{token}, absolute where DARKROOM_PUBLIC_URL is set; kept nowhere, so it cannot be shown again"
    )


class ShareList(BaseModel):
    """The links of one output, newest first; those that ended stay listed for 30 days."""

    shares: list[Share]

"""What a user says about an API key, and what they are told."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.access.store import KeyRow, Scope
from service.platform.fields import SOME_TEXT, Composed, Input, Moment

MAX_OVERLAP_HOURS = 168
MAX_CREDITS = 1_000_000_000


def _in_the_future(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must have a time zone")
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be in the year 9999 or before, null for no end") from None
    if value <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return value


def _each_once(value: list[Scope]) -> list[Scope]:
    return sorted(set(value))


Name = Annotated[
    str,
    Composed,
    Field(min_length=1, max_length=100, pattern=SOME_TEXT, description="for its owner's eyes"),
]
Rate = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description="requests a minute with this key, within the limits of its address and user; null: those alone",
    ),
]
Cap = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_CREDITS,
        description="credits that this key may spend in a UTC month; null: all there are",
    ),
]


class KeyRequest(Input):
    """A new key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Shop importer", "scopes": ["intake", "jobs:read"]},
                {
                    "name": "Nightly export",
                    "scopes": ["library:read"],
                    "rate_per_minute": 30,
                    "spend_cap": 500,
                },
            ]
        },
    )

    name: Name
    scopes: Annotated[list[Scope], AfterValidator(_each_once)] = Field(min_length=1, max_length=5)
    expires_at: Annotated[Moment, AfterValidator(_in_the_future)] | None = Field(
        None, description="null: until it is revoked"
    )
    rate_per_minute: Rate = None
    spend_cap: Cap = None


class KeyChange(Input):
    """What is named changes; `rate_per_minute` and `spend_cap` may be null."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Importer"}, {"spend_cap": 900}]},
    )

    name: Name = Field(default="")
    rate_per_minute: Rate = None
    spend_cap: Cap = None


class RotateRequest(Input):
    """How long the secret before this one goes on working."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_hours": 24}]})

    overlap_hours: int = Field(24, ge=0, le=MAX_OVERLAP_HOURS, description="0: it ends at once")


class ApiKey(KeyRow):
    """A key as its owner sees it: everything but its secret."""


class NewApiKey(ApiKey):
    """A key at the only moment when it is known whole."""

    key: str = Field(
        description="send it as `Authorization: Bearer …`; kept nowhere, so it cannot be shown again"
    )


class ApiKeyList(BaseModel):
    """All keys of the caller, newest first; those that ended stay listed for 30 days."""

    api_keys: list[ApiKey]

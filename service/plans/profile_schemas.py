"""The account of a caller: plan, settings and credits."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.platform.fields import Input
from service.usage.schemas import Library


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

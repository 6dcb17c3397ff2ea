"""Answers of the health routes."""

from typing import Literal

from pydantic import BaseModel, Field

from service.platform.protections import Protections


class Health(BaseModel):
    """The process answers; nothing is said of what it depends on."""

    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One dependency."""

    ok: bool
    ms: float = Field(description="how long it took to answer, milliseconds")
    detail: str | None = Field(
        default=None,
        description="why it is not ok; `off` for a virus scanner or billing that is not configured and for"
        " moderation that is off or lacks its model, `read_only` for a database that refuses writes",
    )


Dependency = Literal["redis", "database", "database_writes", "storage", "clamd", "moderation", "billing"]


class Readiness(BaseModel):
    """`degraded`: something is slower, or refused; `down`: nothing can be served."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[Dependency, Check]
    pixels: Protections | None = Field(
        default=None,
        description="what holds in every worker that runs now; null while none has told",
    )

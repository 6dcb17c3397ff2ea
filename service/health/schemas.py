"""Answers of the health routes."""

from typing import Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    """The process answers; nothing is said of what it depends on."""

    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One dependency."""

    ok: bool
    ms: float = Field(description="how long it took to answer, milliseconds")
    detail: str | None = Field(
        default=None,
        description="why it is not ok; `off` for a virus scanner or billing that is not configured",
    )


class Readiness(BaseModel):
    """`degraded`: everything works, more slowly; `down`: intakes cannot be served."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[Literal["redis", "database", "storage", "clamd", "billing"], Check]

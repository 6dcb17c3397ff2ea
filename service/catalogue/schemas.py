"""Answer of GET /ops."""

from typing import Any

from pydantic import BaseModel, Field

from service.ops.catalogue import Cacheable


class OpEntry(BaseModel):
    """One op: enough to draw a form for it and to write its key."""

    name: str = Field(examples=["resize"])
    version: int = Field(ge=1, examples=[1])
    key: str = Field(description="how an op_key begins", examples=["resize-v1"])
    title: str
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema (2020-12) of the parameters")
    price: int = Field(ge=0, description="credits")
    hit_price: int = Field(0, ge=0, description="credits for an answer from the cache")
    cacheable: Cacheable
    vendor: bool = Field(description="needs a paid service")
    models: list[str] = Field(description="models that it runs on, described in docs/models.md")
    available: bool = Field(
        description="false where this deployment lacks a model: an intake answers op_unavailable"
    )
    examples: list[str] = Field(description="op_keys that work as they are")


class InputLimits(BaseModel):
    """What an upload may be."""

    max_bytes: int
    max_side: int = Field(description="pixels")
    max_pixels: int
    content_types: list[str]


class ModerationStatement(BaseModel):
    """Whether what pictures show is looked at."""

    active: bool = Field(
        description="by a model, which tells pornography; false: only blocked pictures are refused"
    )
    required: bool = Field(description="without the model, jobs wait and fail rather than pass")


class Catalogue(BaseModel):
    ops: list[OpEntry]
    limits: InputLimits
    moderation: ModerationStatement

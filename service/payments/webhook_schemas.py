"""Answers of the webhooks."""

from pydantic import BaseModel, ConfigDict, Field


class Received(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"received": True, "duplicate": False}]})

    received: bool = Field(description="the event is kept and will be dealt with")
    duplicate: bool = Field(description="it was here before")

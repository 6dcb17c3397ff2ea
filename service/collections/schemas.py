"""Bodies of the routes of collections."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.platform.fields import Id, Input, Name


class Collection(BaseModel):
    """A folder of images."""

    model_config = ConfigDict(frozen=True)

    collection_id: UUID
    team_id: UUID | None = Field(None, description="the team whose collection it is; null: the caller's own")
    parent_id: UUID | None = Field(description="the collection that it lies in")
    name: str
    images: int = Field(description="how many a list of it shows; the archive is left aside")
    created_at: datetime
    updated_at: datetime


class CollectionList(BaseModel):
    collections: list[Collection] = Field(description="by name; nested ones among them")


class NewCollection(Input):
    """Names are unique in their place, upper and lower case aside."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Mugs", "parent_id": None}]})

    name: Name
    parent_id: Id | None = Field(None, description="a collection that lies in none itself")
    team_id: Id | None = Field(None, description="a team to make it for, in place of the caller")


class CollectionChange(Input):
    """What is absent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Cups"}]})

    name: Name | None = None
    parent_id: Id | None = Field(None, description="moves it; null moves it out")

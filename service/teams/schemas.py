"""What callers say about teams, and what they are told."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.platform.fields import MAX_BULK, NO_CONTROLS, Composed, Id, Input, Name
from service.teams.store import GivenRole, InvitationStatus, Role

Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        max_length=320,
        pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$",
    ),
]


class Team(BaseModel):
    """A team as the caller sees it."""

    model_config = ConfigDict(frozen=True)

    team_id: UUID
    name: str
    role: Role = Field(description="the caller's own")
    versions_to_keep: int = Field(description="newest library versions of an image that stay")
    seats: int = Field(description="by the plan of its owner")
    seats_taken: int = Field(description="members, and invitations that are open")
    read_only: bool = Field(description="the plan of its owner includes no teams: nothing can be changed")
    created_at: datetime


class Member(BaseModel):
    model_config = ConfigDict(frozen=True)

    user_id: UUID
    role: Role
    email: str | None = Field(None, description="for the owner of the team, and for the member")
    created_at: datetime


class TeamDocument(Team):
    """A team with its members, the owner first."""

    members: list[Member]


class TeamList(BaseModel):
    teams: list[Team] = Field(description="by name")


class NewTeam(Input):
    """What it is called; names need not be unique."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Shop"}]})

    name: Name


class TeamChange(Input):
    """What is absent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"versions_to_keep": 5}]})

    name: Name | None = None
    versions_to_keep: int | None = Field(None, ge=1, le=200)


class TeamDeletion(Input):
    """The name of the team once more, lest it be the wrong one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Shop"}]})

    name: Annotated[str, Composed] = Field(max_length=200, pattern=NO_CONTROLS)


class RoleChange(Input):
    """`owner` hands the team over: the caller is an editor then."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "editor"}]})

    role: Role


class NewInvitation(Input):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "role": "editor"}]},
    )

    email: Email = Field(description="whoever has confirmed this address may accept")
    role: GivenRole


class Invitation(BaseModel):
    """An invitation; whether there is an account of this address is told to nobody."""

    model_config = ConfigDict(frozen=True)

    invitation_id: UUID
    team_id: UUID
    team_name: str
    email: str
    role: GivenRole
    status: InvitationStatus
    created_at: datetime
    expires_at: datetime


class InvitationList(BaseModel):
    invitations: list[Invitation] = Field(description="newest first")


class ImageIds(Input):
    """Images to move, with everything that is of them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image_ids": ["5f0c1f0e-94a4-4b6c-9d0b-3f3a8d1c2b7e"]}]},
    )

    image_ids: list[Id] = Field(min_length=1, max_length=MAX_BULK)


class MoveResult(BaseModel):
    """What became of one image."""

    image_id: UUID
    done: bool
    now: UUID | None = Field(
        None, description="its id there: another one where the new owner had a picture of the same bytes"
    )
    code: Literal["image_not_found", "in_review"] | None = Field(
        None,
        description="why not: image_not_found also ends a repeated move, in_review waits for an operator",
    )


class MoveAnswer(BaseModel):
    """One result for each id, in the order they were named, doubles left out."""

    results: list[MoveResult]


class DeletedTeam(BaseModel):
    """What the owner has got back."""

    images: int = Field(description="pictures that are the owner's own now")

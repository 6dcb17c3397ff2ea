"""The SQL functions of 93_team*.sql, one typed method each; see platform/database.py, whose rules and errors hold here.

A team that the caller is not in raises ProblemError (team_not_found), a role that is too low role_required.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from service.cache.store import Forget
from service.platform.database import Database, Row

Role = Literal["owner", "editor", "viewer"]
GivenRole = Literal["editor", "viewer"]
InvitationStatus = Literal["open", "accepted", "declined", "revoked", "expired"]


class MemberRow(Row):
    """`email`: shown to the owner, and to the member."""

    user_id: UUID
    role: Role
    email: str | None
    created_at: datetime


class TeamRow(Row):
    """A team as one of its members sees it. `seats_taken` counts members and open invitations; `read_only`: the plan of
    its owner includes no teams (any more)."""

    team_id: UUID
    name: str
    role: Role
    versions_to_keep: int
    seats: int
    seats_taken: int
    read_only: bool
    created_at: datetime
    members: list[MemberRow] = Field(default_factory=list)


class TeamProfile(Row):
    """What decides how pictures for a team are made: its owner's plan, and choice of size. `side`: longest one that
    they are worked on at, pixels; None: as large as they are."""

    persistent: bool
    watermark: bool
    side: int | None


class InvitationRow(Row):
    invitation_id: UUID
    team_id: UUID
    team_name: str
    email: str
    role: GivenRole
    status: InvitationStatus
    created_at: datetime
    expires_at: datetime


class MovedImage(Row):
    """`now`: the image it has become, where the new owner had one of the same bytes; else its own id."""

    image_id: UUID
    now: UUID


class Moved(Row):
    """What has a new owner, and what the caches must forget."""

    moved: list[MovedImage]
    forget: list[Forget]
    in_review: list[UUID] = Field([], description="left out of a team until an operator has decided")


class Deleted(Moved):
    """A team that is gone. `images`: how many are its owner's own now; `moved` is empty where it was gone already."""

    images: int


class Teams:
    """Typed access to the functions of 93_team*.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UUID, name: str) -> TeamRow:
        """Raises ProblemError (plan_required, too_many_teams)."""
        return await self._database.one(TeamRow, "create_team", user_id=user_id, name=name)

    async def of(self, user_id: UUID) -> list[TeamRow]:
        return await self._database.many(TeamRow, "list_teams", user_id=user_id)

    async def get(self, team_id: UUID, user_id: UUID) -> TeamRow:
        return await self._database.one(TeamRow, "get_team", team_id=team_id, user_id=user_id)

    async def get_profile(self, team_id: UUID, user_id: UUID) -> TeamProfile:
        """For whoever may make pictures for the team. Raises ProblemError (plan_required, too)."""
        return await self._database.one(TeamProfile, "get_team_profile", team_id=team_id, user_id=user_id)

    async def find_profile(self, team_id: UUID | None, user_id: UUID | None) -> TeamProfile | None:
        """As get_profile; None where no team is named, or nobody calls who could be in one."""
        if team_id is None or user_id is None:
            return None
        return await self.get_profile(team_id, user_id)

    async def update(
        self, team_id: UUID, user_id: UUID, name: str | None, versions_to_keep: int | None
    ) -> TeamRow:
        return await self._database.one(
            TeamRow,
            "update_team",
            team_id=team_id,
            user_id=user_id,
            name=name,
            versions_to_keep=versions_to_keep,
        )

    async def delete(self, team_id: UUID, user_id: UUID, name: str) -> Deleted:
        """Its pictures are the owner's own then. Repeating it answers the same. Raises ProblemError (invalid_request)
        for another name."""
        return await self._database.one(Deleted, "delete_team", team_id=team_id, user_id=user_id, name=name)

    async def set_role(self, team_id: UUID, user_id: UUID, member_id: UUID, role: Role) -> TeamRow:
        """Raises ProblemError (member_not_found, team_owner, plan_required, too_many_teams)."""
        return await self._database.one(
            TeamRow, "set_member_role", team_id=team_id, user_id=user_id, member_id=member_id, role=role
        )

    async def remove_member(self, team_id: UUID, user_id: UUID, member_id: UUID) -> None:
        """Raises ProblemError (member_not_found, team_owner)."""
        await self._database.run("remove_member", team_id=team_id, user_id=user_id, member_id=member_id)

    async def invite(self, team_id: UUID, user_id: UUID, email: str, role: GivenRole) -> InvitationRow:
        """Raises ProblemError (no_seats, already_member, plan_required)."""
        return await self._database.one(
            InvitationRow, "create_invitation", team_id=team_id, user_id=user_id, email=email, role=role
        )

    async def invitations(self, team_id: UUID, user_id: UUID) -> list[InvitationRow]:
        """Those that have not been accepted, newest first, at most 100."""
        return await self._database.many(InvitationRow, "list_invitations", team_id=team_id, user_id=user_id)

    async def revoke(self, team_id: UUID, user_id: UUID, invitation_id: UUID) -> InvitationRow | None:
        """Raises ProblemError (conflict) for one that was accepted."""
        return await self._database.maybe(
            InvitationRow, "revoke_invitation", team_id=team_id, user_id=user_id, invitation_id=invitation_id
        )

    async def my_invitations(self, user_id: UUID) -> list[InvitationRow]:
        """Open ones to the address that this account has confirmed."""
        return await self._database.many(InvitationRow, "list_my_invitations", user_id=user_id)

    async def accept(self, invitation_id: UUID, user_id: UUID) -> TeamRow | None:
        """Raises ProblemError (invitation_expired …, no_seats)."""
        return await self._database.maybe(
            TeamRow, "answer_invitation", invitation_id=invitation_id, user_id=user_id, accept=True
        )

    async def decline(self, invitation_id: UUID, user_id: UUID) -> InvitationRow | None:
        """Raises ProblemError (invitation_expired …)."""
        return await self._database.maybe(
            InvitationRow, "answer_invitation", invitation_id=invitation_id, user_id=user_id, accept=False
        )

    async def move_images(
        self, user_id: UUID, team_id: UUID, image_ids: Sequence[UUID], *, out: bool
    ) -> Moved:
        """The user's own into the team, or with `out` the team's into the library of its owner, the user. Raises
        ProblemError (conflict where a result comes in at the same moment)."""
        return await self._database.one(
            Moved, "move_images", team_id=team_id, user_id=user_id, image_ids=image_ids, out=out
        )

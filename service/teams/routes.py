"""Teams, members, invitations, and pictures that move into a team or out of it."""

from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Request

from service.access.limits import SignedIn
from service.plans.errors import plan_required, storage_full
from service.platform.errors import (
    ProblemError,
    conflict,
    data_deletion_running,
    malformed_json,
    sign_in_required,
)
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.teams import transfer
from service.teams.errors import (
    TEAM_REFUSALS,
    already_member,
    invitation_accepted,
    invitation_declined,
    invitation_expired,
    invitation_not_found,
    invitation_revoked,
    member_not_found,
    no_seats,
    role_required,
    team_not_found,
    team_owner,
    too_many_teams,
)
from service.teams.schemas import (
    DeletedTeam,
    ImageIds,
    Invitation,
    InvitationList,
    MoveAnswer,
    MoveResult,
    NewInvitation,
    NewTeam,
    RoleChange,
    Team,
    TeamChange,
    TeamDeletion,
    TeamDocument,
    TeamList,
)
from service.teams.store import InvitationRow, Moved, TeamRow, Teams

router = APIRouter(tags=["teams"])
_OWNER = (sign_in_required, malformed_json, team_not_found, role_required)
_ENDED = (
    invitation_accepted,
    invitation_declined,
    invitation_revoked,
    invitation_expired,
)


def _team(row: TeamRow) -> Team:
    return Team(**row.model_dump(exclude={"members"}))


def _document(row: TeamRow) -> TeamDocument:
    return TeamDocument(**row.model_dump())


def _invitation(row: InvitationRow | None, invitation_id: UUID) -> Invitation:
    if row is None:
        raise _invitation_not_found(invitation_id)
    return Invitation(**row.model_dump())


def _invitation_not_found(invitation_id: UUID) -> ProblemError:
    """For one that does not exist and for one to somebody else: the two cannot be told apart."""
    return ProblemError(invitation_not_found, f"No invitation to you has the id {invitation_id}.")


def _answer(image_ids: Sequence[UUID], moved: Moved) -> MoveAnswer:
    now = {image.image_id: image.now for image in moved.moved}
    held = set(moved.in_review)
    return MoveAnswer(
        results=[
            MoveResult(image_id=image_id, done=True, now=now[image_id])
            if image_id in now
            else MoveResult(
                image_id=image_id, done=False, code="in_review" if image_id in held else "image_not_found"
            )
            for image_id in dict.fromkeys(image_ids)
        ]
    )


@router.post(
    "/teams",
    status_code=201,
    responses=responses(
        sign_in_required,
        malformed_json,
        plan_required,
        too_many_teams,
        data_deletion_running,
    ),
)
async def create_team(body: NewTeam, request: Request, user_id: SignedIn) -> Team:
    """A new team of the caller's, whose plan is the team's: its seats, its library."""
    return _team(await Teams(platform_of(request).database).create(user_id, body.name))


@router.get("/teams", responses=responses(sign_in_required))
async def list_teams(request: Request, user_id: SignedIn) -> TeamList:
    """The teams that the caller is in."""
    return TeamList(teams=[_team(row) for row in await Teams(platform_of(request).database).of(user_id)])


@router.get("/teams/{team_id}", responses=responses(sign_in_required, team_not_found))
async def get_team(team_id: UUID, request: Request, user_id: SignedIn) -> TeamDocument:
    """A team with its members."""
    return _document(await Teams(platform_of(request).database).get(team_id, user_id))


@router.patch("/teams/{team_id}", responses=responses(*_OWNER, plan_required))
async def update_team(team_id: UUID, body: TeamChange, request: Request, user_id: SignedIn) -> Team:
    """Rename a team, or change how many versions it keeps; its owner does."""
    row = await Teams(platform_of(request).database).update(
        team_id, user_id, body.name, body.versions_to_keep
    )
    return _team(row)


@router.delete("/teams/{team_id}", responses=responses(*_OWNER, conflict, data_deletion_running))
async def delete_team(team_id: UUID, body: TeamDeletion, request: Request, user_id: SignedIn) -> DeletedTeam:
    """Delete a team; its owner does. Its pictures and collections become the owner's own: nothing is lost.

    Members lose access at once, and what they have in the making for the team is canceled. A large library takes a
    while: repeat the call when no answer comes.
    """
    deleted = await transfer.delete_team(platform_of(request), user_id, team_id, body.name)
    return DeletedTeam(images=deleted.images)


# Members


@router.patch(
    "/teams/{team_id}/members/{member_id}",
    responses=responses(*_OWNER, plan_required, member_not_found, team_owner, too_many_teams),
)
async def set_role(
    team_id: UUID, member_id: UUID, body: RoleChange, request: Request, user_id: SignedIn
) -> TeamDocument:
    """Make a member an editor or a viewer, or hand the team over; its owner does."""
    return _document(
        await Teams(platform_of(request).database).set_role(team_id, user_id, member_id, body.role)
    )


@router.delete(
    "/teams/{team_id}/members/{member_id}",
    status_code=204,
    responses=responses(
        sign_in_required,
        team_not_found,
        role_required,
        member_not_found,
        team_owner,
    ),
)
async def remove_member(team_id: UUID, member_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Leave a team, or as its owner remove somebody. The pictures stay with the team.

    Unfinished jobs of the member for the team are canceled, and links that the member has given out are revoked.
    """
    await Teams(platform_of(request).database).remove_member(team_id, user_id, member_id)


# Invitations


@router.post(
    "/teams/{team_id}/invitations",
    status_code=201,
    responses=responses(*_OWNER, plan_required, no_seats, already_member),
)
async def invite(team_id: UUID, body: NewInvitation, request: Request, user_id: SignedIn) -> Invitation:
    """Invite an address, for seven days; the owner does. Doing it again prolongs the invitation.

    Darkroom sends no mail: tell them, or let them find it under `GET /me/invitations`.
    """
    row = await Teams(platform_of(request).database).invite(team_id, user_id, body.email, body.role)
    return _invitation(row, row.invitation_id)


@router.get(
    "/teams/{team_id}/invitations",
    responses=responses(sign_in_required, team_not_found, role_required),
)
async def list_invitations(team_id: UUID, request: Request, user_id: SignedIn) -> InvitationList:
    """The invitations that have not been accepted, at most 100; for the owner."""
    rows = await Teams(platform_of(request).database).invitations(team_id, user_id)
    return InvitationList(invitations=[_invitation(row, row.invitation_id) for row in rows])


@router.delete(
    "/teams/{team_id}/invitations/{invitation_id}",
    responses=responses(
        sign_in_required,
        team_not_found,
        role_required,
        invitation_not_found,
        conflict,
    ),
)
async def revoke_invitation(
    team_id: UUID, invitation_id: UUID, request: Request, user_id: SignedIn
) -> Invitation:
    """Take an invitation back, and its seat. Repeating it changes nothing."""
    row = await Teams(platform_of(request).database).revoke(team_id, user_id, invitation_id)
    return _invitation(row, invitation_id)


@router.get("/me/invitations", responses=responses(sign_in_required))
async def my_invitations(request: Request, user_id: SignedIn) -> InvitationList:
    """Open invitations to the address that the caller's account has confirmed."""
    rows = await Teams(platform_of(request).database).my_invitations(user_id)
    return InvitationList(invitations=[_invitation(row, row.invitation_id) for row in rows])


@router.post(
    "/invitations/{invitation_id}/accept",
    responses=responses(
        sign_in_required,
        invitation_not_found,
        no_seats,
        data_deletion_running,
        *_ENDED,
    ),
)
async def accept_invitation(invitation_id: UUID, request: Request, user_id: SignedIn) -> Team:
    """Join a team. The invitation must be to an address that the caller's account has confirmed."""
    row = await Teams(platform_of(request).database).accept(invitation_id, user_id)
    if row is None:
        raise _invitation_not_found(invitation_id)
    return _team(row)


@router.post(
    "/invitations/{invitation_id}/decline",
    responses=responses(sign_in_required, invitation_not_found, *_ENDED),
)
async def decline_invitation(invitation_id: UUID, request: Request, user_id: SignedIn) -> Invitation:
    """Decline an invitation, which frees its seat."""
    return _invitation(
        await Teams(platform_of(request).database).decline(invitation_id, user_id), invitation_id
    )


# Pictures


@router.post(
    "/teams/{team_id}/images",
    responses=responses(
        sign_in_required,
        malformed_json,
        team_not_found,
        *TEAM_REFUSALS,
        storage_full,
        conflict,
    ),
)
async def give_images(team_id: UUID, body: ImageIds, request: Request, user_id: SignedIn) -> MoveAnswer:
    """Move images of the caller's own into the team, with originals, versions and links; editors do.

    They leave the caller's collections. Where the team has a picture of the same bytes the two become one: versions
    are counted on behind those that are there. What an operator has yet to approve is left out as `in_review`.
    """
    moved = await transfer.give_images(platform_of(request), user_id, team_id, body.image_ids)
    return _answer(body.image_ids, moved)


@router.post(
    "/teams/{team_id}/images/take",
    responses=responses(*_OWNER, conflict, data_deletion_running),
)
async def take_images(team_id: UUID, body: ImageIds, request: Request, user_id: SignedIn) -> MoveAnswer:
    """Move images of the team into its owner's own library; the owner does."""
    moved = await transfer.take_images(platform_of(request), user_id, team_id, body.image_ids)
    return _answer(body.image_ids, moved)

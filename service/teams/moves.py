"""Pictures that change hands: into a team, out of one, or back to its owner when it is deleted."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from service.intake.hits import forget
from service.resources import Resources
from service.teams.store import Deleted, Moved

MovedT = TypeVar("MovedT", bound=Moved)


async def give_images(resources: Resources, user_id: UUID, team_id: UUID, image_ids: Sequence[UUID]) -> Moved:
    """The user's own images into a team; others are left out. Raises ProblemError."""
    return await _forgotten(
        resources, await resources.teams.move_images(user_id, team_id, image_ids, out=False)
    )


async def take_images(resources: Resources, user_id: UUID, team_id: UUID, image_ids: Sequence[UUID]) -> Moved:
    """Images of a team into its owner's own library; others are left out. Raises ProblemError."""
    return await _forgotten(
        resources, await resources.teams.move_images(user_id, team_id, image_ids, out=True)
    )


async def delete_team(resources: Resources, user_id: UUID, team_id: UUID, name: str) -> Deleted:
    """Repeating it answers the same. Raises ProblemError."""
    return await _forgotten(resources, await resources.teams.delete(team_id, user_id, name))


async def _forgotten(resources: Resources, moved: MovedT) -> MovedT:
    """Answers in Redis name the old owner."""
    await forget(resources.invalidation, moved.forget)
    return moved

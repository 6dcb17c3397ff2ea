"""Pictures that change hands: into a team, out of one, or back to its owner when it is deleted."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from service.cache.hot_answers import forget
from service.platform.resources import Platform
from service.teams.store import Deleted, Moved, Teams

MovedT = TypeVar("MovedT", bound=Moved)


async def give_images(platform: Platform, user_id: UUID, team_id: UUID, image_ids: Sequence[UUID]) -> Moved:
    """The user's own images into a team; others are left out. Raises ProblemError."""
    return await _forgotten(
        platform, await Teams(platform.database).move_images(user_id, team_id, image_ids, out=False)
    )


async def take_images(platform: Platform, user_id: UUID, team_id: UUID, image_ids: Sequence[UUID]) -> Moved:
    """Images of a team into its owner's own library; others are left out. Raises ProblemError."""
    return await _forgotten(
        platform, await Teams(platform.database).move_images(user_id, team_id, image_ids, out=True)
    )


async def delete_team(platform: Platform, user_id: UUID, team_id: UUID, name: str) -> Deleted:
    """Repeating it answers the same. Raises ProblemError."""
    return await _forgotten(platform, await Teams(platform.database).delete(team_id, user_id, name))


async def _forgotten(platform: Platform, moved: MovedT) -> MovedT:
    """Answers in Redis name the old owner."""
    await forget(platform.invalidation, moved.forget)
    return moved

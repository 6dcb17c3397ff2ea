"""Profiles as the hot path sees them: asked of the database once a minute for each user, in each process."""

import time
from uuid import UUID

from cachetools import LRUCache

from service.errors import DependencyError
from service.library.store import Library, Profile

FRESH_SECONDS = 60.0
MAX_PROFILES = 10_000


class Profiles:
    """A change made elsewhere is seen within a minute, or as soon as the watch of changes says so; one made here, at
    once."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._kept: LRUCache[UUID | None, tuple[float, Profile | None]] = LRUCache(MAX_PROFILES)

    async def of(self, user_id: UUID | None) -> Profile | None:
        """None for an account that no longer exists; `user_id` None: a visitor's.

        While the database is away, an old answer is better than none, and none better than refusing a hot hit:
        nothing new can be made anyway.
        """
        kept = self._kept.get(user_id)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        try:
            profile = await self._library.get_profile(user_id)
        except DependencyError:
            return None if kept is None else kept[1]
        self.put(user_id, profile)
        return profile

    def forget(self, user_id: UUID) -> None:
        """Ask again the next time."""
        if (kept := self._kept.get(user_id)) is not None:
            self._kept[user_id] = (0.0, kept[1])

    def forget_all(self) -> None:
        for user_id, (_, profile) in list(self._kept.items()):
            self._kept[user_id] = (0.0, profile)

    def put(self, user_id: UUID | None, profile: Profile | None) -> None:
        self._kept[user_id] = (time.monotonic() + FRESH_SECONDS, profile)

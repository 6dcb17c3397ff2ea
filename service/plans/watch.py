"""The watch of changes: what was changed in the database, by whatever hand, is seen by every process within a second.

Plans of users change in many places (payments, administration, SQL by hand), and accounts are banned in Supabase Auth,
so none of them has to tell: each process asks once in a while what changed lately. It asks for more than the time since
it asked last, so that a change whose transaction took long is not missed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import structlog

from service.access.accounts import Accounts
from service.plans.profiles import Profiles
from service.plans.store import Plans
from service.plans.tariff import Tariff
from service.platform.errors import DependencyError
from service.platform.resources import Platform

log = structlog.get_logger()
EVERY_SECONDS = 0.5
BACK_SECONDS = 10.0
"""How far back each question reaches: longer than a transaction takes."""
AWAY_SECONDS = 5.0


class Watch:
    """Forgets what is no longer true: profiles, plans and prices of this process; `tell` hears of each user."""

    def __init__(
        self,
        store: Plans,
        profiles: Profiles,
        tariff: Tariff,
        tell: Callable[[UUID], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._profiles = profiles
        self._tariff = tariff
        self._tell = tell
        self._seen: dict[UUID, datetime] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except DependencyError:
                await asyncio.sleep(AWAY_SECONDS)
            except Exception as error:
                log.exception("watch_failed", error=type(error).__name__)
                await asyncio.sleep(AWAY_SECONDS)
            else:
                await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Raises DependencyError."""
        changes = await self._store.recently_changed(BACK_SECONDS)
        news = [change for change in changes.users if self._seen.get(change.user_id) != change.at]
        self._seen = {change.user_id: change.at for change in changes.users}
        if changes.plans:
            self._profiles.forget_all()
        for change in news:
            self._profiles.forget(change.user_id)
            if self._tell is not None:
                await self._tell(change.user_id)
        self._tariff.forget(plans=changes.plans, prices=changes.prices)


@asynccontextmanager
async def watching(
    platform: Platform, tell: Callable[[UUID], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Keep what this process remembers true for as long as the block lasts. `tell` hears of each user that changed, by
    default every process and the event streams of this one."""

    async def tell_all(user_id: UUID) -> None:
        await platform.freshness.changed(user_id)
        await platform.shared(Accounts).changed(user_id)

    watch = Watch(
        Plans(platform.database), platform.shared(Profiles), platform.shared(Tariff), tell or tell_all
    )
    task = asyncio.create_task(watch.run(), name="watch")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

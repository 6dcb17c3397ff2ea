"""Accounts that may not be used: suspended by an operator, banned or deleted in Supabase Auth.

Every request of a signed-in caller asks here. What the database said is remembered like an API key: while the user's
version in Redis stands (platform/freshness.py), and for less than a second without Redis. Open event streams are ended
when the watch of changes tells that their user changed.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeVar
from uuid import UUID

from cachetools import LRUCache

from service.access.store import AccountState, AccountStates
from service.platform.errors import DependencyError
from service.platform.freshness import REMEMBERED_SECONDS, UNCONFIRMED_SECONDS, Freshness
from service.platform.gcra import Admission
from service.platform.resources import Platform

REMEMBERED_ACCOUNTS = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database said; `version` of the user before that, None where none was known; `looked_up_at` by the
    monotonic clock."""

    state: AccountState
    version: bytes | None
    looked_up_at: float


class Accounts:
    """The states of accounts as this process remembers them."""

    def __init__(
        self, states: AccountStates, freshness: Freshness, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._states = states
        self._freshness = freshness
        self._clock = clock
        self._known: LRUCache[UUID, _Known] = LRUCache(REMEMBERED_ACCOUNTS)
        self._streams: dict[UUID, set[asyncio.Event]] = {}

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(AccountStates(platform.database), platform.freshness)

    async def confirm(self, user_id: UUID, admission: Admission, *, may_be_deleted: bool = False) -> None:
        """Refuse an account that may not be used, asking the database unless what the admission has read along the
        way says that nothing has changed. Raises ProblemError (account_suspended, invalid_token)."""
        known = self._known.get(user_id)
        if known is None or not self._good(known, admission):
            state = await self._look_up(user_id)
        else:
            state = known.state
        if state.status == "active" or (may_be_deleted and state.status == "deleted"):
            return
        refusal = state.refusal()
        if refusal is not None:
            raise refusal

    def _good(self, known: _Known, admission: Admission) -> bool:
        if known.state.until is not None and known.state.until.timestamp() <= self._clock():
            return False
        age = time.monotonic() - known.looked_up_at
        if not admission.shared:
            return age < UNCONFIRMED_SECONDS
        return known.version is not None and known.version == admission.version and age < REMEMBERED_SECONDS

    async def _look_up(self, user_id: UUID) -> AccountState:
        """Ask the database. While it is away the last answer stands, and an unknown account passes: nothing new can be
        made then, and what Redis has answers them."""
        version = await self._freshness.version(user_id)
        looked_up_at = time.monotonic()
        try:
            state = await self._states.account_state(user_id)
        except DependencyError:
            known = self._known.get(user_id)
            return AccountState(status="active") if known is None else known.state
        self._known[user_id] = _Known(state, version, looked_up_at)
        return state

    @asynccontextmanager
    async def watching(self, user_id: UUID | None) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the account may no longer be used; of a visitor, never."""
        blocked = asyncio.Event()
        if user_id is None:
            yield blocked
            return
        streams = self._streams.setdefault(user_id, set())
        streams.add(blocked)
        try:
            # It may have changed since the request was let in.
            await self.changed(user_id)
            yield blocked
        finally:
            streams.discard(blocked)
            if not streams:
                self._streams.pop(user_id, None)

    async def changed(self, user_id: UUID) -> None:
        """Something of a user is different: end their streams if it is that. For the watch of changes."""
        if user_id in self._streams and (await self._look_up(user_id)).status != "active":
            for blocked in self._streams.get(user_id, ()):
                blocked.set()


async def until(stop: asyncio.Event, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items of an iterator, until `stop` is set: also while the next one is waited for. Closes a generator."""
    stopped = asyncio.ensure_future(stop.wait())
    following: asyncio.Future[T] | None = None
    try:
        while not stop.is_set():
            following = asyncio.ensure_future(anext(items))
            await asyncio.wait({stopped, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        stopped.cancel()
        if following is not None and following.cancel():
            await asyncio.wait({following})
        if isinstance(items, AsyncGenerator):
            await items.aclose()

"""Accounts that may not be used: suspended by an operator, banned or deleted in Supabase Auth.

Every request of a signed-in caller asks here. What the database said is remembered like an API key: while the user's
version in Redis stands (platform/freshness.py), and for less than a second without Redis. Open event streams are ended
when the watch of changes tells that their user changed.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from cachetools import LRUCache

from service.access.store import AccountState, AccountStates
from service.platform.errors import DependencyError
from service.platform.freshness import REMEMBERED_SECONDS, UNCONFIRMED_SECONDS, Freshness
from service.platform.gcra import Admission
from service.platform.resources import Platform

REMEMBERED_ACCOUNTS = 10_000


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
        self._ends: dict[UUID, set[Callable[[], None]]] = {}

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
    async def watching(self, user_id: UUID | None, end: Callable[[], None]) -> AsyncIterator[None]:
        """Call `end` when the account may no longer be used; of a visitor, never."""
        if user_id is None:
            yield
            return
        ends = self._ends.setdefault(user_id, set())
        ends.add(end)
        try:
            # It may have changed since the request was let in.
            await self.changed(user_id)
            yield
        finally:
            ends.discard(end)
            if not ends and self._ends.get(user_id) is ends:
                del self._ends[user_id]

    async def changed(self, user_id: UUID) -> None:
        """Something of a user is different: end their streams if it is that. For the watch of changes."""
        if user_id in self._ends and (await self._look_up(user_id)).status != "active":
            for end in tuple(self._ends.get(user_id, ())):
                end()

"""The SQL functions of accounts and API keys, one typed method each; see platform/database.py, whose rules and errors
hold here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from service.platform.database import Database, Row
from service.platform.errors import ProblemError, account_gone, account_suspended

Scope = Literal["intake", "jobs:read", "library:read", "library:write", "usage:read"]
KeyStatus = Literal["active", "revoked", "expired"]


WHAT_TO_DO = "Write to whoever runs this service; what the account holds is kept."


class AccountState(Row):
    """`until`: when a ban ends by itself; None: when somebody lifts it."""

    status: Literal["active", "suspended", "banned", "deleted"]
    until: datetime | None = None

    def refusal(self) -> ProblemError | None:
        """Why the account may not be used; None: it may."""
        match self.status:
            case "active":
                return None
            case "deleted":
                return account_gone()
            case _:
                until = (
                    "" if self.until is None else f" until {self.until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
                )
                return ProblemError(account_suspended, f"This account is suspended{until}. {WHAT_TO_DO}")


class KeyRow(Row):
    """A key as its owner sees it: never its secret. Spending in credits of this UTC month, until `resets_at`."""

    key_id: UUID
    user_id: UUID
    name: str
    prefix: str
    scopes: list[Scope]
    status: KeyStatus
    rate_per_minute: int | None
    spend_cap: int | None
    spent: int
    resets_at: datetime
    created_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    overlap_ends_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class FoundKey(Row):
    """What a prefix leads to. `hash` is 64 hex digits whether or not the prefix is `known`; the rest is None if not.
    `account`: of the key's user; `plan_required`, known or not: a plan that has API access."""

    known: bool
    hash: str = Field(repr=False)
    valid_until: datetime | None
    key_id: UUID | None
    user_id: UUID | None
    scopes: list[str] | None
    rate_per_minute: int | None
    expires_at: datetime | None
    revoked: bool | None
    account: AccountState | None = None
    plan_name: str | None
    api_access: bool
    plan_required: str | None = None


class AccountStates:
    """Typed access to the state of accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account_state(self, user_id: UUID) -> AccountState:
        return await self._database.one(AccountState, "account_state", user_id=user_id)


class ApiKeys:
    """Typed access to the functions of 35_api_keys.sql. Hashes are hex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_api_key(  # noqa: PLR0913 - the SQL function's own
        self,
        user_id: UUID,
        *,
        name: str,
        scopes: Sequence[str],
        prefix: str,
        key_hash: str,
        expires_at: datetime | None,
        rate_per_minute: int | None,
        spend_cap: int | None,
    ) -> KeyRow:
        """Raises ProblemError (api_access_required, too_many_api_keys, data_deletion_running)."""
        return await self._database.one(
            KeyRow,
            "create_api_key",
            user_id=user_id,
            name=name,
            scopes=scopes,
            prefix=prefix,
            hash=key_hash,
            expires_at=expires_at,
            rate_per_minute=rate_per_minute,
            spend_cap=spend_cap,
        )

    async def list_api_keys(self, user_id: UUID) -> list[KeyRow]:
        return await self._database.many(KeyRow, "list_api_keys", user_id=user_id)

    async def update_api_key(self, key_id: UUID, user_id: UUID, changes: Mapping[str, Any]) -> KeyRow:
        """Raises ProblemError (api_key_not_found, conflict)."""
        return await self._database.one(
            KeyRow, "update_api_key", key_id=key_id, user_id=user_id, changes=changes
        )

    async def rotate_api_key(
        self, key_id: UUID, user_id: UUID, *, prefix: str, key_hash: str, overlap_seconds: int
    ) -> KeyRow:
        """Raises ProblemError (api_key_not_found, conflict)."""
        return await self._database.one(
            KeyRow,
            "rotate_api_key",
            key_id=key_id,
            user_id=user_id,
            prefix=prefix,
            hash=key_hash,
            overlap_seconds=overlap_seconds,
        )

    async def revoke_api_key(self, key_id: UUID, user_id: UUID) -> KeyRow:
        """Raises ProblemError (api_key_not_found)."""
        return await self._database.one(KeyRow, "revoke_api_key", key_id=key_id, user_id=user_id)

    async def find_api_key(self, prefix: str) -> FoundKey:
        return await self._database.one(FoundKey, "find_api_key", prefix=prefix)

    async def touch_api_key(self, key_id: UUID, every_seconds: int) -> None:
        await self._database.run("touch_api_key", key_id=key_id, every_seconds=every_seconds)

"""The SQL functions of 13_idempotency.sql, one typed method each; see database.py, whose rules and errors hold.
`Database.run` calls `run_once` itself."""

from typing import Literal
from uuid import UUID

from service.platform.database import Database, Row

KEEP_SECONDS = 86_400


class Reservation(Row):
    outcome: Literal["new", "resumed", "answered", "busy", "reused"]
    id: UUID | None = None
    answer: str | None = None


class IdempotencyKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(
        self, key_digest: str, user_id: UUID | None, request_digest: str, *, lease_seconds: float
    ) -> Reservation:
        return await self._database.one(
            Reservation,
            "reserve_idempotency_key",
            key_digest=key_digest,
            user_id=user_id,
            request_digest=request_digest,
            lease_seconds=lease_seconds,
            keep_seconds=KEEP_SECONDS,
        )

    async def answer(self, reservation_id: UUID, sealed: str) -> str | None:
        """Store a sealed answer. Returns the one that counts: another call's, if that was first."""
        kept: str | None = await self._database.run(
            "answer_idempotency_key", id=reservation_id, answer=sealed
        )
        return kept

    async def release(self, reservation_id: UUID) -> None:
        await self._database.run("release_idempotency_key", id=reservation_id)

    async def expire(self, limit: int) -> int:
        """Remove up to `limit` keys that are past their time; how many."""
        return int(await self._database.run("expire_idempotency_keys", limit=limit))

"""What 31_grants.sql tells of credits, one typed method each; see platform/database.py, whose rules hold here."""

from datetime import datetime
from uuid import UUID

from service.platform.database import Database, Row


class Expiring(Row):
    """Credits of one or more grants that end at the same moment."""

    amount: int
    expires_at: datetime


class CreditsRow(Row):
    """What an account has: `balance` can be spent, `held` waits for unfinished jobs, `debt` is paid before anything."""

    balance: int
    held: int
    debt: int
    expiring: list[Expiring]
    by_source: dict[str, int]


class GrantUse(Row):
    """Credits that a movement put into a grant (+) or took out of it (-)."""

    grant_id: int
    source: str
    reference: str
    delta: int
    expires_at: datetime | None


class Movement(Row):
    """A row of the ledger. `debt`: by how much the debt changed; `job_id`: while that job is known."""

    id: int
    reason: str
    delta: int
    debt: int
    balance_after: int
    reference: str
    job_id: UUID | None
    created_at: datetime
    grants: list[GrantUse]


class Expired(Row):
    """Accounts that had credits past their end, and how many these were."""

    accounts: int
    credits: int


class Credits:
    """Typed access to what accounts have. Giving and taking is done where its cause is recorded: Stripe, admins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_credits(self, user_id: UUID) -> CreditsRow | None:
        return await self._database.maybe(CreditsRow, "get_credits", user_id=user_id)

    async def history(self, user_id: UUID, before: int | None, limit: int) -> list[Movement]:
        """Movements older than the one whose id is `before`, newest first."""
        return await self._database.many(
            Movement, "credit_history", user_id=user_id, before=before, limit=limit
        )

    async def expire_grants(self, limit: int) -> Expired:
        """Take what has ended from up to `limit` accounts."""
        return await self._database.one(Expired, "expire_grants", limit=limit)

"""What the compute cache knows of outputs; see platform/database.py, whose rules and errors hold here."""

import hashlib
from datetime import datetime
from typing import Literal
from uuid import UUID

from service.ops.outputs import Features, StepReport
from service.ops.variant import FULL
from service.platform.database import Database, Row

Scan = Literal["none", "clean", "unscanned"]
"""`none`: not asked for; `unscanned`: the scanner was away, and the deployment goes on without it."""


Moderation = Literal["none", "clean", "review", "approved"]
"""What is known of what a picture shows: nobody looked; nothing was found; an operator is to decide; has allowed it."""


class OutputRow(Row):
    """A live output. Sizes in pixels and bytes; `expires_at` None: kept until its owner deletes it; `image_id` None: of
    visitors; `version` None: not in the library; `features` None: made before they were measured."""

    output_id: UUID
    user_id: UUID | None
    team_id: UUID | None = None
    bucket: str
    path: str
    thumb_path: str
    content_type: str
    width: int
    height: int
    size: int
    sha256: str
    expires_at: datetime | None
    scan: Scan = "none"
    moderation: Moderation = "none"
    vendor_cost_micros: int = 0
    image_id: UUID | None = None
    version: int | None = None
    report: tuple[StepReport, ...] = ()
    features: Features | None = None

    @property
    def owner_id(self) -> UUID | None:
        """A user, a team, or None: the anonymous."""
        return self.team_id or self.user_id


class Forget(Row):
    """What the caches must forget: a key and the owner whose entry it is (None: the anonymous)."""

    cache_key: str | None
    owner_id: UUID | None


def cache_key(sha256: str, op_key: str, variant: str = FULL) -> str:
    """The hex digest that the cache is keyed by; equals the SQL function of the same name."""
    return hashlib.sha256(f"{sha256}\n{op_key}\n{variant}".encode()).hexdigest()


class Outputs:
    """Rows of outputs, for whoever finds their bytes missing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bury(self, output_id: UUID) -> Forget | None:
        """Take an output whose object is gone out of the cache. Returns what Redis must forget; None when it was buried
        before."""
        return await self._database.maybe(Forget, "bury_output", output_id=output_id, reason="missing")

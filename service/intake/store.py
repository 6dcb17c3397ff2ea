"""The SQL functions of the intake, one typed method each; see platform/database.py, whose rules and errors hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal
from uuid import UUID

from service.cache.store import OutputRow
from service.jobs.store import JobRow
from service.ops.variant import FULL
from service.platform.database import Database, Row, json_text


class IntakeResult(Row):
    """`hit`: the caller's own output or, for a visitor, what visitors share, with a finished job; `copy`: what is to
    be copied for the caller; `job`: made now or in flight."""

    outcome: Literal["hit", "copy", "job"]
    job_id: UUID | None = None
    output: OutputRow | None = None
    job: JobRow | None = None
    created: bool = False
    charged: int = 0


@dataclass(frozen=True, kw_only=True)
class IntakeParameters:
    """What the SQL function `intake` takes, by its parameters' names. Sizes in bytes and pixels, prices in credits.

    `ip` is a keyed hash of the caller's address, never the address itself. `output_side`: longest side that the result
    is planned to have, pixels. A hit that costs is charged once per `hit_reference`.
    """

    user_id: UUID | None
    sha256: str
    filename: str
    content_type: str | None
    size: int
    width: int
    height: int
    op_key: str
    cacheable: bool
    price: int
    queue: str
    wants_persist: bool
    await_seconds: int
    upload_seconds: int
    output_seconds: int
    request_id: str | None
    use_cache: bool = True
    variant: str = FULL
    keep_days: int | None = None
    may_upload: bool = True
    team_id: UUID | None = None
    api_key_id: UUID | None = None
    hit_price: int = 0
    ip: str | None = None
    may_queue: bool = True
    output_side: int | None = None
    hit_reference: str | None = None


class Intakes:
    """Typed access to the functions of 60_intake.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intake(self, parameters: IntakeParameters) -> IntakeResult:
        """Look up the cache, else find or make the job, count it and hold its price, in one transaction."""
        return await self._database.one(IntakeResult, "intake", **asdict(parameters))

    async def intake_batch(self, parameters: Sequence[IntakeParameters]) -> list[IntakeResult]:
        """What `intake` answers for each, in one transaction, all or none. Of what they have in common the first one's
        value counts."""
        first = parameters[0]
        return await self._database.many(
            IntakeResult,
            "intake_batch",
            user_id=first.user_id,
            claim=asdict(first),
            items=json_text([asdict(one) for one in parameters]),
        )

    async def adopt_output(  # noqa: PLR0913 - the SQL function's own
        self,
        *,
        job_id: UUID,
        user_id: UUID | None,
        source_id: UUID,
        filename: str,
        path: str,
        thumb_path: str,
        output_seconds: int,
        request_id: str | None,
        price: int = 0,
        hit_price: int = 0,
        api_key_id: UUID | None = None,
        team_id: UUID | None = None,
        object_key: UUID | None = None,
    ) -> JobRow:
        """Give the caller a finished job whose objects were copied from what visitors share, for `hit_price`; `price`
        is what the work would have cost. `object_key`: what the copies are named after."""
        return await self._database.one(
            JobRow,
            "adopt_output",
            job_id=job_id,
            user_id=user_id,
            source_id=source_id,
            filename=filename,
            path=path,
            thumb_path=thumb_path,
            output_seconds=output_seconds,
            request_id=request_id,
            price=price,
            hit_price=hit_price,
            api_key_id=api_key_id,
            team_id=team_id,
            object_key=object_key,
        )

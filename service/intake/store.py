"""The SQL functions of the intake, one typed method each; see service/database.py, whose rules and errors hold here."""

from typing import Literal
from uuid import UUID

from service.database import Database, OutputRow, Row, text
from service.jobs.store import JobRow
from service.ops.variant import FULL


class IntakeResult(Row):
    """`hit`: the caller's own output or, for a visitor, what visitors share, with a finished job; `copy`: what is to
    be copied for the caller; `job`: made now or in flight."""

    outcome: Literal["hit", "copy", "job"]
    job_id: UUID | None = None
    output: OutputRow | None = None
    job: JobRow | None = None
    created: bool = False
    charged: int = 0


class Intakes:
    """Typed access to the functions of 60_intake.sql."""

    def __init__(self, database: Database) -> None:
        self._call = database.call

    async def intake(  # noqa: PLR0913 - the SQL function's own
        self,
        *,
        user_id: UUID | None,
        sha256: str,
        filename: str,
        content_type: str | None,
        size: int,
        width: int,
        height: int,
        op_key: str,
        cacheable: bool,
        price: int,
        queue: str,
        wants_persist: bool,
        await_seconds: int,
        upload_seconds: int,
        output_seconds: int,
        request_id: str | None,
        use_cache: bool = True,
        variant: str = FULL,
        keep_days: int | None = None,
        may_upload: bool = True,
        team_id: UUID | None = None,
        api_key_id: UUID | None = None,
        hit_price: int = 0,
        ip: str | None = None,
        may_queue: bool = True,
        output_side: int | None = None,
        hit_reference: str | None = None,
    ) -> IntakeResult:
        """Look up the cache, else find or make the job, count it and hold its price, in one transaction.

        `ip` is a keyed hash of the caller's address, never the address itself. `output_side`: longest side that the
        result is planned to have, pixels. A hit that costs is charged once per `hit_reference`.
        """
        return IntakeResult.model_validate(
            await self._call(
                "intake",
                {
                    "p_user_id": text(user_id),
                    "p_sha256": sha256,
                    "p_filename": filename,
                    "p_content_type": content_type,
                    "p_size": size,
                    "p_width": width,
                    "p_height": height,
                    "p_op_key": op_key,
                    "p_variant": variant,
                    "p_cacheable": cacheable,
                    "p_price": price,
                    "p_queue": queue,
                    "p_wants_persist": wants_persist,
                    "p_use_cache": use_cache,
                    "p_await_seconds": await_seconds,
                    "p_upload_seconds": upload_seconds,
                    "p_output_seconds": output_seconds,
                    "p_request_id": request_id,
                    "p_keep_days": keep_days,
                    "p_may_upload": may_upload,
                    "p_team_id": text(team_id),
                    "p_api_key_id": text(api_key_id),
                    "p_hit_price": hit_price,
                    "p_ip": ip,
                    "p_may_queue": may_queue,
                    "p_output_side": output_side,
                    "p_hit_reference": hit_reference,
                },
            )
        )

    async def intake_batch(self, user_id: UUID | None, claim: str, items: str) -> list[IntakeResult]:
        """What `intake` answers for each of the items, in one transaction. `claim`: what they have in common; both are
        JSON texts with the parameters of the SQL function, by name without `p_`."""
        rows = await self._call(
            "intake_batch", {"p_user_id": text(user_id), "p_claim": claim, "p_items": items}
        )
        return [IntakeResult.model_validate(row) for row in rows]

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
        return JobRow.model_validate(
            await self._call(
                "adopt_output",
                {
                    "p_job_id": str(job_id),
                    "p_user_id": text(user_id),
                    "p_source_id": str(source_id),
                    "p_filename": filename,
                    "p_path": path,
                    "p_thumb_path": thumb_path,
                    "p_output_seconds": output_seconds,
                    "p_request_id": request_id,
                    "p_price": price,
                    "p_hit_price": hit_price,
                    "p_api_key_id": text(api_key_id),
                    "p_team_id": text(team_id),
                    "p_object_key": text(object_key),
                },
            )
        )

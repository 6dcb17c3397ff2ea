"""The database: one typed method per SQL function of supabase/functions, called by PostgREST with the service key.

Nothing else talks to PostgREST, and no method does more than its function. Every function is one transaction, so
a method either had its whole effect or none.

Errors: what a function refuses comes back as `ProblemError` with the function's own code (`too_many_jobs`,
`job_finished`, …); a lost lease as `LeaseLost`; a database that does not answer as `DependencyError`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import httpx
import orjson
import structlog
from postgrest import AsyncPostgrestClient
from postgrest.exceptions import APIError
from pydantic import BaseModel, ConfigDict

from service.errors import Code, DependencyError, ProblemError
from service.ops.variant import FULL

log = structlog.get_logger()

Scan = Literal["none", "clean", "unscanned"]
"""`none`: not asked for; `unscanned`: the scanner was away, and the deployment goes on without it."""
Status = Literal["awaiting_upload", "queued", "running", "done", "error", "expired", "canceled"]
TERMINAL: frozenset[Status] = frozenset({"done", "error", "expired", "canceled"})
ShareStatus = Literal["active", "share_expired", "share_revoked", "share_used_up", "output_expired"]


class LeaseLost(Exception):
    """Another worker has this job, or it has ended: whoever gets this must write nothing more about it."""


class OutputGone(Exception):
    """The cached output that was about to be used has been removed since."""


class Row(BaseModel):
    """A document of the database. Unknown fields are ignored, so that a newer schema serves an older service."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OutputRow(Row):
    """A live output. Sizes in pixels and bytes; `expires_at` None: kept until its owner deletes it."""

    output_id: UUID
    user_id: UUID | None
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


class CachedOutput(OutputRow):
    """An output as a source to copy, with the facts of the picture it was made from."""

    input_content_type: str
    input_width: int
    input_height: int
    input_size: int


class JobRow(Row):
    """A job as its caller may see it. `progress` 0..1; `output` None until done and again after its time."""

    job_id: UUID
    user_id: UUID | None
    status: Status
    filename: str = ""
    op_key: str
    variant: str
    queue: str
    queue_position: int | None
    progress: float
    step: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    charged: int
    error: dict[str, Any] | None
    upload_path: str
    upload_expires_at: datetime | None
    last_event_id: int | None
    output: OutputRow | None

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL


class SourceFacts(Row):
    """What the bytes of an original in the library are: hex digest and number."""

    sha256: str
    size: int


class ClaimedJob(Row):
    """A job under lease: everything a worker needs to do it. The bytes lie at `upload_path` of `source_bucket`, as
    `source` says, or as the job's own claim does; `store_original`: the library wants them, too."""

    id: UUID
    user_id: UUID | None
    image_id: UUID | None
    lease_token: UUID
    lease_expires_at: datetime
    attempt: int
    max_attempts: int
    sha256: str
    filename: str
    content_type: str | None
    size: int
    width: int
    height: int
    op_key: str
    variant: str
    cache_key: str | None
    wants_persist: bool
    store_original: bool
    source_bucket: str
    source: SourceFacts | None
    upload_path: str
    request_id: str | None


class IntakeResult(Row):
    """`hit`: the caller's own output; `copy`: somebody else's, to be copied; `job`: made now or in flight."""

    outcome: Literal["hit", "copy", "job"]
    output: OutputRow | None = None
    job: JobRow | None = None
    created: bool = False


class CacheCheck(Row):
    """An output found by a worker; `own`: its job's owner holds it already."""

    own: bool
    output: CachedOutput


class JobEvent(Row):
    id: int
    type: str
    attempt: int
    created_at: datetime


class SweepReport(Row):
    """`due`: jobs that wait now, by queue; `jobs`: those whose state the sweep changed."""

    requeued: int
    failed: int
    expired: int
    found: int
    jobs: list[UUID]
    due: dict[str, int]


class Forget(Row):
    """What the caches must forget: a key and the owner whose entry it is (None: the anonymous)."""

    cache_key: str | None
    user_id: UUID | None


class Completion(JobRow):
    """A job that is done; `forget`: what the caches must forget with it."""

    forget: list[Forget]


class BlockReport(Row):
    """What blocking a hash took away, counted, and what the caches must forget."""

    outputs: int
    originals: int
    uploads: int
    forget: list[Forget]


class ExpiryReport(Row):
    expired_outputs: int
    expired_uploads: int
    forget: list[Forget]
    more: bool


class Tombstone(Row):
    id: int
    bucket: str
    path: str


class ShareRow(Row):
    """A share link as its owner sees it. `status`: active, or the code that opening it answers with."""

    share_id: UUID
    output_id: UUID | None
    status: ShareStatus
    has_password: bool
    expires_at: datetime
    max_views: int | None
    views: int
    last_viewed_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    output_expires_at: datetime | None


class FoundShare(Row):
    """What a token leads to; `password_hash` is whatever service/sharing/passwords.py made."""

    share_id: UUID
    status: ShareStatus
    password_hash: str | None
    expires_at: datetime
    filename: str | None
    output: OutputRow | None


class DataRequest(Row):
    """A deletion or an export of all data of a user, as its caller may see it. `receipt` None until done."""

    request_id: UUID
    user_id: UUID
    kind: Literal["delete", "export"]
    status: Literal["queued", "running", "done", "error"]
    queue: str
    progress: float
    step: str | None
    error: dict[str, Any] | None
    receipt: dict[str, Any] | None
    bucket: str | None
    path: str | None
    size: int | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None


class ClaimedRequest(Row):
    """A request under lease."""

    id: UUID
    user_id: UUID
    kind: Literal["delete", "export"]
    lease_token: UUID
    attempt: int
    options: dict[str, Any]


class WipeBatch(Row):
    """`done`: no row was left; `wait_seconds`: until when workers that lost their job may still write."""

    step: str
    done: bool
    forget: list[Forget]
    wait_seconds: float | None = None


class PersonalTable(Row):
    """A table that holds something of users, and how a deletion treats it."""

    name: str
    treatment: Literal["delete", "job", "image", "account", "pseudonym", "receipt"]


class ExportPage(Row):
    """Rows of one table; `next` is the key to go on from, None at the end."""

    rows: list[dict[str, Any]]
    next: str | None


class StoredAt(Row):
    bucket: str
    path: str


class QueueStats(Row):
    queued: int
    running: int
    oldest_due_seconds: float | None


class Violation(Row):
    invariant: str
    subject: str


def cache_key(sha256: str, op_key: str, variant: str = FULL) -> str:
    """The hex digest that the cache is keyed by; equals the SQL function of the same name."""
    return hashlib.sha256(f"{sha256}\n{op_key}\n{variant}".encode()).hexdigest()


class Database:
    """Typed access to the SQL functions. `rest` is a client of `{SUPABASE_URL}/rest/v1` with the service key."""

    def __init__(self, rest: AsyncPostgrestClient) -> None:
        self._rest = rest

    async def call(self, function: str, params: Mapping[str, Any]) -> Any:
        """One SQL function by name, for the typed methods of a context of its own (service/library/store.py)."""
        return await self._call(function, params)

    async def _call(self, function: str, params: Mapping[str, Any]) -> Any:
        try:
            return (await self._rest.rpc(function, dict(params)).execute()).data
        except APIError as error:
            raise _translated(error) from error
        except (httpx.TransportError, OSError) as error:
            raise DependencyError("database") from error

    # Intake

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
        quoted_price: int | None = None,
        ip: str | None = None,
    ) -> IntakeResult:
        """Look up the cache, else find or make the job and hold its price, in one transaction. `ip` is a keyed
        hash of the caller's address, never the address itself."""
        return IntakeResult.model_validate(
            await self._call(
                "intake",
                {
                    "p_user_id": _text(user_id),
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
                    "p_team_id": _text(team_id),
                    "p_api_key_id": _text(api_key_id),
                    "p_hit_price": hit_price,
                    "p_quoted_price": quoted_price,
                    "p_ip": ip,
                },
            )
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
    ) -> JobRow:
        """Give the caller a finished job whose objects were copied from another owner's output."""
        return JobRow.model_validate(
            await self._call(
                "adopt_output",
                {
                    "p_job_id": str(job_id),
                    "p_user_id": _text(user_id),
                    "p_source_id": str(source_id),
                    "p_filename": filename,
                    "p_path": path,
                    "p_thumb_path": thumb_path,
                    "p_output_seconds": output_seconds,
                    "p_request_id": request_id,
                },
            )
        )

    async def mark_uploaded(self, job_id: UUID, user_id: UUID | None) -> JobRow | None:
        return _job(await self._call("mark_uploaded", {"p_job_id": str(job_id), "p_user_id": _text(user_id)}))

    # Jobs, as their caller sees them

    async def get_job(self, job_id: UUID, user_id: UUID | None) -> JobRow | None:
        return _job(await self._call("get_job", {"p_job_id": str(job_id), "p_user_id": _text(user_id)}))

    async def get_job_events(self, job_id: UUID, user_id: UUID | None, after: int) -> list[JobEvent]:
        rows = await self._call(
            "get_job_events", {"p_job_id": str(job_id), "p_user_id": _text(user_id), "p_after": after}
        )
        return [JobEvent.model_validate(row) for row in rows]

    async def cancel_job(self, job_id: UUID, user_id: UUID | None) -> JobRow | None:
        return _job(await self._call("cancel_job", {"p_job_id": str(job_id), "p_user_id": _text(user_id)}))

    # Jobs, as a worker sees them

    async def claim_next(self, queue: str, worker: str, lease_seconds: float) -> ClaimedJob | None:
        row = await self._call(
            "claim_next", {"p_queue": queue, "p_worker": worker, "p_lease_seconds": lease_seconds}
        )
        return None if row is None else ClaimedJob.model_validate(row)

    async def heartbeat(
        self, job: ClaimedJob, lease_seconds: float, progress: float | None = None, step: str | None = None
    ) -> None:
        await self._call(
            "heartbeat",
            {**_lease(job), "p_lease_seconds": lease_seconds, "p_progress": progress, "p_step": step},
        )

    async def snooze(self, job: ClaimedJob, seconds: float) -> None:
        await self._call("snooze", {**_lease(job), "p_seconds": seconds})

    async def cached_output(self, job: ClaimedJob, output_seconds: int) -> CacheCheck | None:
        row = await self._call("cached_output", {**_lease(job), "p_output_seconds": output_seconds})
        return None if row is None else CacheCheck.model_validate(row)

    async def complete_from_cache(self, job: ClaimedJob, output_id: UUID) -> JobRow:
        return JobRow.model_validate(
            await self._call("complete_from_cache", {**_lease(job), "p_output_id": str(output_id)})
        )

    async def complete_job(
        self, job: ClaimedJob, output: Mapping[str, Any], output_seconds: int
    ) -> Completion:
        """`output`: bucket, path, thumb_path, content_type, width, height, size, sha256 and the input_* facts."""
        return Completion.model_validate(
            await self._call(
                "complete_job",
                {
                    **_lease(job),
                    "p_output": orjson.dumps(dict(output)).decode(),
                    "p_output_seconds": output_seconds,
                },
            )
        )

    async def fail_job(
        self, job: ClaimedJob, error: Mapping[str, Any], *, retry_seconds: float | None, drop_upload: bool
    ) -> JobRow:
        return JobRow.model_validate(
            await self._call(
                "fail_job",
                {
                    **_lease(job),
                    "p_error": orjson.dumps(dict(error)).decode(),
                    "p_retry_seconds": retry_seconds,
                    "p_drop_upload": drop_upload,
                },
            )
        )

    # Share links

    async def create_share(  # noqa: PLR0913 - the SQL function's own
        self,
        *,
        output_id: UUID,
        user_id: UUID,
        token_hash: str,
        password_hash: str | None,
        seconds: int,
        max_views: int | None,
    ) -> ShareRow | None:
        """None: no output of this user has this id. `token_hash` in hex. Raises ProblemError (output_expired)."""
        row = await self._call(
            "create_share",
            {
                "p_output_id": str(output_id),
                "p_user_id": str(user_id),
                "p_token_hash": token_hash,
                "p_password_hash": password_hash,
                "p_seconds": seconds,
                "p_max_views": max_views,
            },
        )
        return None if row is None else ShareRow.model_validate(row)

    async def list_shares(self, output_id: UUID, user_id: UUID) -> list[ShareRow] | None:
        rows = await self._call("list_shares", {"p_output_id": str(output_id), "p_user_id": str(user_id)})
        return None if rows is None else [ShareRow.model_validate(row) for row in rows]

    async def revoke_share(self, share_id: UUID, user_id: UUID) -> ShareRow | None:
        row = await self._call("revoke_share", {"p_share_id": str(share_id), "p_user_id": str(user_id)})
        return None if row is None else ShareRow.model_validate(row)

    async def find_share(self, token_hash: str) -> FoundShare | None:
        row = await self._call("find_share", {"p_token_hash": token_hash})
        return None if row is None else FoundShare.model_validate(row)

    async def open_share(self, share_id: UUID) -> None:
        """Count one view. Raises ProblemError where the link does not allow it (any more)."""
        await self._call("open_share", {"p_share_id": str(share_id)})

    async def purge_shares(self, limit: int) -> int:
        return int(await self._call("purge_shares", {"p_limit": limit}))

    # Deletions and exports of all data of a user

    async def request_deletion(self, user_id: UUID, *, delete_account: bool, queue: str) -> DataRequest:
        params = {"p_user_id": str(user_id), "p_delete_account": delete_account, "p_queue": queue}
        return DataRequest.model_validate(await self._call("request_deletion", params))

    async def request_export(self, user_id: UUID, queue: str, fresh_seconds: int | None) -> DataRequest:
        """The export under way, the last one if it is young enough (None: of whatever age), or a new one."""
        params = {"p_user_id": str(user_id), "p_queue": queue, "p_fresh_seconds": fresh_seconds}
        return DataRequest.model_validate(await self._call("request_export", params))

    async def get_request(self, request_id: UUID, user_id: UUID | None) -> DataRequest | None:
        row = await self._call("get_request", {"p_request_id": str(request_id), "p_user_id": _text(user_id)})
        return None if row is None else DataRequest.model_validate(row)

    async def claim_request(self, queue: str, worker: str, lease_seconds: float) -> ClaimedRequest | None:
        params = {"p_queue": queue, "p_worker": worker, "p_lease_seconds": lease_seconds}
        row = await self._call("claim_request", params)
        return None if row is None else ClaimedRequest.model_validate(row)

    async def heartbeat_request(
        self, request: ClaimedRequest, lease_seconds: float, progress: float, step: str
    ) -> None:
        params = {"p_lease_seconds": lease_seconds, "p_progress": progress, "p_step": step}
        await self._call("heartbeat_request", _request(request) | params)

    async def snooze_request(self, request: ClaimedRequest, seconds: float) -> None:
        await self._call("snooze_request", _request(request) | {"p_seconds": seconds})

    async def fail_request(
        self, request: ClaimedRequest, error: Mapping[str, Any], seconds: float
    ) -> DataRequest:
        params = {"p_error": orjson.dumps(dict(error)).decode(), "p_seconds": seconds}
        return DataRequest.model_validate(await self._call("fail_request", _request(request) | params))

    async def wipe_batch(self, request: ClaimedRequest, limit: int) -> WipeBatch:
        return WipeBatch.model_validate(
            await self._call("wipe_batch", _request(request) | {"p_limit": limit})
        )

    async def wipe_objects(self, request: ClaimedRequest, bucket: str, paths: list[str]) -> int:
        return int(
            await self._call("wipe_objects", _request(request) | {"p_bucket": bucket, "p_paths": paths})
        )

    async def request_tombstones(self, request: ClaimedRequest, limit: int) -> list[Tombstone]:
        rows = await self._call("request_tombstones", _request(request) | {"p_limit": limit})
        return [Tombstone.model_validate(row) for row in rows]

    async def wipe_money(self, request: ClaimedRequest) -> None:
        await self._call("wipe_money", _request(request))

    async def close_account(self, request: ClaimedRequest) -> str:
        """kept, deleted, or operator: nobody but the operator of this platform can delete it."""
        return str(await self._call("close_account", _request(request)))

    async def finish_deletion(
        self, request: ClaimedRequest, account: str, receipt_seconds: int
    ) -> DataRequest:
        params = {"p_account": account, "p_receipt_seconds": receipt_seconds}
        return DataRequest.model_validate(await self._call("finish_deletion", _request(request) | params))

    async def personal_tables(self) -> list[PersonalTable]:
        return [PersonalTable.model_validate(row) for row in await self._call("personal_tables", {})]

    async def export_page(
        self, request: ClaimedRequest, table: str, after: str | None, limit: int
    ) -> ExportPage:
        params = {"p_table": table, "p_after": after, "p_limit": limit}
        return ExportPage.model_validate(await self._call("export_page", _request(request) | params))

    async def export_originals(self, request: ClaimedRequest, image_ids: list[str]) -> dict[str, StoredAt]:
        """Where the bytes of originals are, by image; without those that are not kept."""
        rows = await self._call("export_originals", _request(request) | {"p_image_ids": image_ids})
        return {image_id: StoredAt.model_validate(row) for image_id, row in rows.items()}

    async def finish_export(
        self, request: ClaimedRequest, path: str, size: int, receipt: Mapping[str, Any], keep_seconds: int
    ) -> DataRequest:
        params = {
            "p_path": path,
            "p_size": size,
            "p_receipt": orjson.dumps(dict(receipt)).decode(),
            "p_keep_seconds": keep_seconds,
        }
        return DataRequest.model_validate(await self._call("finish_export", _request(request) | params))

    async def expire_requests(self, limit: int) -> int:
        return int(await self._call("expire_requests", {"p_limit": limit}))

    # Sweep, cleanup and care

    async def sweep(self) -> SweepReport:
        return SweepReport.model_validate(await self._call("sweep", {}))

    async def queue_stats(self) -> dict[str, QueueStats]:
        rows = await self._call("queue_stats", {})
        return {queue: QueueStats.model_validate(row) for queue, row in rows.items()}

    async def expire_due(self, limit: int) -> ExpiryReport:
        return ExpiryReport.model_validate(await self._call("expire_due", {"p_limit": limit}))

    async def due_tombstones(self, limit: int) -> list[Tombstone]:
        rows = await self._call("due_tombstones", {"p_limit": limit})
        return [Tombstone.model_validate(row) for row in rows]

    async def confirm_purged(self, ids: list[int]) -> int:
        return int(await self._call("confirm_purged", {"p_ids": ids}))

    async def entomb_orphans(self, older_than_seconds: int, limit: int) -> int:
        return int(
            await self._call(
                "entomb_orphans", {"p_older_than": f"{older_than_seconds} seconds", "p_limit": limit}
            )
        )

    async def bury_missing(self, limit: int) -> list[Forget]:
        rows = await self._call("bury_missing", {"p_limit": limit})
        return [Forget.model_validate(row) for row in rows]

    async def grant_credits(self, user_id: UUID, amount: int, reason: str, reference: str) -> bool:
        """False when this (user, reason, reference) was granted before."""
        return bool(
            await self._call(
                "grant_credits",
                {
                    "p_user_id": str(user_id),
                    "p_amount": amount,
                    "p_reason": reason,
                    "p_reference": reference,
                },
            )
        )

    async def bury_output(self, output_id: UUID) -> None:
        """Take an output whose object is gone out of the cache."""
        await self._call("bury_output", {"p_output_id": str(output_id), "p_reason": "missing"})

    # Blocked hashes

    async def block_hash(self, sha256: str, category: str, reason: str, by: str) -> BlockReport:
        """Refuse these bytes from now on and bury what exists of them."""
        return BlockReport.model_validate(
            await self._call(
                "block_hash", {"p_sha256": sha256, "p_category": category, "p_reason": reason, "p_by": by}
            )
        )

    async def unblock_hash(self, sha256: str, by: str) -> bool:
        return bool(await self._call("unblock_hash", {"p_sha256": sha256, "p_by": by}))

    async def mark_scanned(self, output_id: UUID, scan: Scan) -> None:
        await self._call("mark_scanned", {"p_output_id": str(output_id), "p_scan": scan})

    async def blocked_category(self, sha256s: Sequence[str]) -> str | None:
        """The category of the first of these hashes that is blocked; None when none is."""
        category = await self._call("blocked_category", {"p_sha256s": list(sha256s)})
        return None if category is None else str(category)

    async def check_invariants(self) -> list[Violation]:
        return [Violation.model_validate(row) for row in await self._call("check_invariants", {})]


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _lease(job: ClaimedJob) -> dict[str, str]:
    return {"p_job_id": str(job.id), "p_lease_token": str(job.lease_token)}


def _request(request: ClaimedRequest) -> dict[str, Any]:
    return {"p_request_id": str(request.id), "p_lease_token": str(request.lease_token)}


def _job(row: Any) -> JobRow | None:
    return None if row is None else JobRow.model_validate(row)


def _translated(error: APIError) -> Exception:
    """A function's refusal as the exception of its code: SQLSTATE `PTxyz` (PostgREST answers with status xyz), the
    code in `message`, a sentence for people in `detail`."""
    match error.message:
        case "lease_lost":
            return LeaseLost(error.details)
        case "output_not_found":
            return OutputGone(error.details)
        case str(message) if str(error.code).startswith("PT") and message in Code.__members__:
            return ProblemError(
                Code(message),
                str(error.details or message),
                category=error.hint if message == Code.refused else None,
            )
        case _ if _away(str(error.code)):
            log.warning("database_unavailable", code=error.code, reason=error.message)
            return DependencyError("database")
        case _:
            return error


def _away(code: str) -> bool:
    """Whether an error tells that Postgres cannot be reached, is stopping or is out of connections, or comes from
    something in front of PostgREST: a gateway's error has neither a SQLSTATE nor a code of PostgREST's."""
    if code.startswith("PGRST"):
        return code in {"PGRST000", "PGRST001", "PGRST002", "PGRST003"}
    return _SQLSTATE.fullmatch(code) is None or code.startswith(("08", "53", "57"))


_SQLSTATE = re.compile(r"[0-9A-Z]{5}")

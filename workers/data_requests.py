"""One turn at a deletion or an export of all data of a user, under a lease."""

import structlog
from redis.exceptions import RedisError

from service.jobs.progress import Progress
from service.platform.database import LeaseLost
from service.platform.errors import DependencyError, dependency_unavailable, internal, problem
from service.platform.storage_errors import StorageError
from service.privacy.store import ClaimedRequest, DataRequests
from workers.context import WorkerContext
from workers.export import export
from workers.lease import RequestLease, end_or_leave
from workers.wipe import wipe

log = structlog.get_logger()
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 300.0


async def run_request(context: WorkerContext, request: ClaimedRequest) -> None:
    """Bring a claimed request to its end, or hand it back with what was done. Raises nothing but cancellation."""
    platform = context.platform
    log.info("request_started", kind=request.kind)
    async with RequestLease(
        DataRequests(platform.database), platform.shared(Progress), request, platform.settings.lease_seconds
    ) as lease:
        work = wipe if request.kind == "delete" else export
        try:
            status: str | None = await work(platform, lease)
        except LeaseLost:
            raise
        except Exception as error:
            status = await end_or_leave(_fail(lease, error))
            if status is None:
                return
        log.info("request_turned", kind=request.kind, status=status)


async def _fail(lease: RequestLease, error: Exception) -> str:
    """Try again later, ever more slowly: what was done stays done."""
    if isinstance(error, DependencyError | StorageError | RedisError | OSError):
        code, detail = dependency_unavailable, "A service that this needs is away."
        log.warning("request_failed", error=type(error).__name__)
    else:
        code, detail = internal, "This attempt crashed; the error is logged."
        log.exception("request_crashed")
    pause = min(FIRST_RETRY_SECONDS * 2 ** (lease.request.attempt - 1), MAX_RETRY_SECONDS)
    return await lease.fail(problem(code, detail).model_dump(mode="json", exclude_none=True), pause)

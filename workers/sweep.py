"""The delivery guarantee: rings what is due, ends dead leases, finds uploads nobody reported, expires what is late.

Whatever a worker, a queue or a client lost, the truth is still in Postgres and one SQL function finds it. Safe to run
from any number of places at once, every second.
"""

import structlog

from service.errors import Code, DependencyError
from service.maintenance import SweepReport
from service.resources import Resources
from service.telemetry import DATABASE_WRITABLE, QUEUE_DEPTH

log = structlog.get_logger()
MAX_RINGS = 64
"""More bells than slots wake nobody else: each drain goes on until nothing is due."""


async def sweep(resources: Resources) -> SweepReport | None:
    """One sweep; None when the database is away or read-only (the next one finds everything again). While another is
    under way it finds nothing."""
    try:
        report = await resources.maintenance.sweep()
    except DependencyError as error:
        if error.code is Code.database_read_only:
            DATABASE_WRITABLE.set(0)
        log.warning("sweep_skipped", reason=error.code)
        return None
    DATABASE_WRITABLE.set(1)
    for queue, count in report.due.items():
        QUEUE_DEPTH.labels(queue, "due").set(count)
        await resources.doorbell.ring(queue, min(count, MAX_RINGS))
    for job_id in report.jobs:
        await resources.progress.publish(job_id, {"status": "swept"})
    if report.jobs:
        log.info(
            "swept",
            requeued=report.requeued,
            failed=report.failed,
            expired=report.expired,
            found=report.found,
            due=report.due,
        )
    return report

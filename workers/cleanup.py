"""TTL: rows become tombstones, tombstones become removals in Storage, removals are confirmed. And the orphans.

A crash between any two of these repeats a removal, which changes nothing. Objects go only through the Storage API.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from service.database import Tombstone
from service.errors import DependencyError
from service.intake.hits import forget
from service.resources import Resources
from service.storage import StorageError

log = structlog.get_logger()
BATCH = 1000
REST = 2.0
"""Between two batches nothing is done for this many times as long as the last one took: lookups are waiting for the
same processors and pages, the objects of a TTL are not waited for."""
ORPHAN_SECONDS = 3600
"""An object younger than this may belong to a job or an upload that is under way."""


@dataclass(slots=True)
class CleanupReport:
    """What one cleanup did: rows expired, objects removed, removals that must be tried again, images archived, credits
    past their end taken."""

    expired_outputs: int = 0
    expired_uploads: int = 0
    removed: int = 0
    postponed: int = 0
    orphans: int = 0
    missing: int = 0
    archived: int = 0
    expired_credits: int = 0


Notice = Callable[[CleanupReport], None]


def _silent(_report: CleanupReport) -> None:
    return None


async def cleanup(resources: Resources, *, batch: int = BATCH, notice: Notice = _silent) -> CleanupReport:
    """Expire and purge until nothing is due. `notice` hears of every batch."""
    report = CleanupReport()
    while True:
        started = time.monotonic()
        expired = await resources.maintenance.expire_due(batch)
        # Before the objects go: from here on no answer in Redis may name them.
        await forget(resources.redis, expired.forget)
        report.expired_outputs += expired.expired_outputs
        report.expired_uploads += expired.expired_uploads
        notice(report)
        if not expired.more:
            break
        await _rest(started)
    while await resources.maintenance.expire_requests(batch) == batch:
        pass
    while (pruned := await resources.maintenance.prune_versions(batch)) is not None:
        await forget(resources.redis, pruned)
    # Whoever deleted something may have died before it told Redis.
    await forget(resources.redis, await resources.library.recently_buried())
    await purge(resources, report, batch=batch, notice=notice)
    await archive(resources, report, batch=batch)
    await expire_credits(resources, report, batch=batch)
    while await resources.maintenance.purge_shares(batch) == batch:
        pass
    if report != CleanupReport():
        log.info("cleaned", **_fields(report))
    return report


async def expire_credits(resources: Resources, report: CleanupReport, *, batch: int = BATCH) -> None:
    """Take the credits whose time is over out of all balances. Nobody can spend them before this, either: a hold looks
    for itself."""
    while (expired := await resources.credits.expire_grants(batch)).accounts:
        report.expired_credits += expired.credits


async def archive(resources: Resources, report: CleanupReport, *, batch: int = BATCH) -> None:
    """Archive the images whose owners want it by their age. Their bytes stay where they are; a store with a cold
    class would be told here."""
    while count := await resources.shelves.archive_due(batch):
        report.archived += count


async def purge(
    resources: Resources, report: CleanupReport, *, batch: int = BATCH, notice: Notice = _silent
) -> None:
    """Remove the objects of all open tombstones that are due."""
    started = time.monotonic()
    while tombstones := await resources.maintenance.due_tombstones(batch):
        by_bucket: dict[str, list[Tombstone]] = defaultdict(list)
        for tombstone in tombstones:
            by_bucket[tombstone.bucket].append(tombstone)
        results = await asyncio.gather(
            *(_remove(resources, bucket, group) for bucket, group in by_bucket.items())
        )
        gone = [tombstone_id for ids in results for tombstone_id in ids]
        await resources.maintenance.confirm_purged(gone)
        report.removed += len(gone)
        report.postponed += len(tombstones) - len(gone)
        notice(report)
        if len(tombstones) == batch:
            await _rest(started)
        started = time.monotonic()


async def _rest(started: float) -> None:
    await asyncio.sleep(REST * (time.monotonic() - started))


async def _remove(resources: Resources, bucket: str, tombstones: list[Tombstone]) -> list[int]:
    """Ids of the tombstones whose objects are gone now. Storage answers with what it removed; what it does not
    name was gone before, which is just as good. A failure leaves the tombstones for later."""
    try:
        await resources.storage.remove(bucket, [tombstone.path for tombstone in tombstones])
    except (StorageError, DependencyError) as error:
        log.warning("purge_postponed", bucket=bucket, objects=len(tombstones), error=type(error).__name__)
        return []
    return [tombstone.id for tombstone in tombstones]


async def reconcile(
    resources: Resources, *, older_than_seconds: int = ORPHAN_SECONDS, notice: Notice = _silent
) -> CleanupReport:
    """Find objects without rows and rows without objects; remove the former, bury the latter."""
    report = CleanupReport()
    while count := await resources.maintenance.entomb_orphans(older_than_seconds, BATCH):
        report.orphans += count
        notice(report)
    while missing := await resources.maintenance.bury_missing(BATCH):
        await forget(resources.redis, missing)
        report.missing += len(missing)
        notice(report)
    await purge(resources, report, notice=notice)
    if report.orphans or report.missing:
        log.warning("reconciled", **_fields(report))
    return report


def _fields(report: CleanupReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in CleanupReport.__slots__}

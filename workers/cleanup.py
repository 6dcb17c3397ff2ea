"""TTL: rows become tombstones, tombstones become removals in Storage, removals are confirmed. And the orphans.

A crash between any two of these repeats a removal, which changes nothing. Objects go only through the Storage API.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from service.cache.hot_answers import forget
from service.cache.missing import bury
from service.credits.store import Credits
from service.input_documents.store import Inputs
from service.library.image_store import Images
from service.library.originals import lose_original
from service.library.store import Library
from service.maintenance.store import ByteCheck, Maintenance, Tombstone
from service.platform.errors import DependencyError
from service.platform.idempotency_store import IdempotencyKeys
from service.platform.resources import Platform
from service.platform.storage_errors import StorageError
from service.platform.telemetry import BYTES_LOOKED_FOR

log = structlog.get_logger()
BATCH = 1000
REST = 2.0
"""Between two batches nothing is done for this many times as long as the last one took: lookups are waiting for the
same processors and pages, the objects of a TTL are not waited for."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MANY = 20
"""Rows without bytes in one batch that may be the backend's fault, when they are most of it."""
AT_ONCE = 8
ORPHAN_SECONDS = 3600
"""An object younger than this may belong to a job or an upload that is under way."""


@dataclass(slots=True)
class CleanupReport:
    """What one cleanup did: rows expired, objects removed, removals that must be tried again, images archived, credits
    past their end taken, rows pruned by age; rows whose bytes were looked for, and those of them that had none."""

    expired_outputs: int = 0
    expired_uploads: int = 0
    removed: int = 0
    postponed: int = 0
    orphans: int = 0
    missing: int = 0
    archived: int = 0
    expired_credits: int = 0
    pruned_jobs: int = 0
    pruned_events: int = 0
    pruned_lanes: int = 0
    looked_for: int = 0
    without_bytes: int = 0


Notice = Callable[[CleanupReport], None]


def _silent(_report: CleanupReport) -> None:
    return None


async def cleanup(platform: Platform, *, batch: int = BATCH, notice: Notice = _silent) -> CleanupReport:
    """Expire and purge until nothing is due. `notice` hears of every batch."""
    report = CleanupReport()
    while True:
        started = time.monotonic()
        expired = await Maintenance(platform.database).expire_due(batch)
        # Before the objects go: from here on no answer in Redis may name them.
        await forget(platform.invalidation, expired.forget)
        report.expired_outputs += expired.expired_outputs
        report.expired_uploads += expired.expired_uploads
        notice(report)
        if not expired.more:
            break
        await _rest(started)
    while await Maintenance(platform.database).expire_requests(batch) == batch:
        pass
    while (pruned := await Maintenance(platform.database).prune_versions(batch)) is not None:
        await forget(platform.invalidation, pruned)
    # Whoever deleted something may have died before it told Redis.
    await forget(platform.invalidation, await Library(platform.database).recently_buried())
    await purge(platform, report, batch=batch, notice=notice)
    await archive(platform, report, batch=batch)
    await expire_credits(platform, report, batch=batch)
    while await Maintenance(platform.database).purge_shares(batch) == batch:
        pass
    while await Inputs(platform.database).expire_inputs(batch) == batch:
        pass
    await prune(platform, report, batch=batch)
    while await IdempotencyKeys(platform.database).expire(batch) == batch:
        pass
    if report != CleanupReport():
        log.info("cleaned", **_fields(report))
    return report


async def expire_credits(platform: Platform, report: CleanupReport, *, batch: int = BATCH) -> None:
    """Take the credits whose time is over out of all balances. Nobody can spend them before this, either: a hold looks
    for itself."""
    while (expired := await Credits(platform.database).expire_grants(batch)).accounts:
        report.expired_credits += expired.credits


async def prune(platform: Platform, report: CleanupReport, *, batch: int = BATCH) -> None:
    """Delete ended jobs and their transitions by age, and lanes that nobody has used for a day."""
    maintenance, settings = Maintenance(platform.database), platform.settings
    event: int | None = 0
    while event is not None:
        started = time.monotonic()
        events = await maintenance.prune_job_events(
            min(settings.job_events_days, settings.jobs_days), batch, event
        )
        report.pruned_events += events.pruned
        event = events.after
        if event is not None:
            await _rest(started)
    created: datetime | None = BEGINNING
    job_id: UUID | None = UUID(int=0)
    while created is not None and job_id is not None:
        started = time.monotonic()
        jobs = await maintenance.prune_jobs(settings.jobs_days, batch, created, job_id)
        await forget(platform.invalidation, jobs.forget)
        report.pruned_jobs += jobs.pruned
        created, job_id = jobs.after, jobs.after_id
        if created is not None:
            await _rest(started)
    while (lanes := await maintenance.prune_lanes(batch)) == batch:
        report.pruned_lanes += lanes
    report.pruned_lanes += lanes


async def archive(platform: Platform, report: CleanupReport, *, batch: int = BATCH) -> None:
    """Archive the images whose owners want it by their age. Their bytes stay where they are; a store with a cold
    class would be told here."""
    while count := await Images(platform.database).archive_due(batch):
        report.archived += count


async def purge(
    platform: Platform, report: CleanupReport, *, batch: int = BATCH, notice: Notice = _silent
) -> None:
    """Remove the objects of all open tombstones that are due."""
    started = time.monotonic()
    while tombstones := await Maintenance(platform.database).due_tombstones(batch):
        by_bucket: dict[str, list[Tombstone]] = defaultdict(list)
        for tombstone in tombstones:
            by_bucket[tombstone.bucket].append(tombstone)
        results = await asyncio.gather(
            *(_remove(platform, bucket, group) for bucket, group in by_bucket.items())
        )
        gone = [tombstone_id for ids in results for tombstone_id in ids]
        await Maintenance(platform.database).confirm_purged(gone)
        report.removed += len(gone)
        report.postponed += len(tombstones) - len(gone)
        notice(report)
        if len(tombstones) == batch:
            await _rest(started)
        started = time.monotonic()


async def _rest(started: float) -> None:
    await asyncio.sleep(REST * (time.monotonic() - started))


async def _remove(platform: Platform, bucket: str, tombstones: list[Tombstone]) -> list[int]:
    """Ids of the tombstones whose objects are gone now. Storage answers with what it removed; what it does not
    name was gone before, which is just as good. A failure leaves the tombstones for later."""
    try:
        await platform.storage.remove(bucket, [tombstone.path for tombstone in tombstones])
    except (StorageError, DependencyError) as error:
        log.warning("purge_postponed", bucket=bucket, objects=len(tombstones), error=type(error).__name__)
        return []
    return [tombstone.id for tombstone in tombstones]


async def restore(platform: Platform, *, notice: Notice = _silent) -> CleanupReport:
    """After a restore: walk through every row and give up those whose bytes are gone."""
    report = CleanupReport()
    await look_for_bytes(platform, report, BATCH, whole=True)
    await purge(platform, report, notice=notice)
    log.info("restored", **_fields(report))
    return report


async def reconcile(
    platform: Platform, *, older_than_seconds: int = ORPHAN_SECONDS, notice: Notice = _silent
) -> CleanupReport:
    """Find objects without rows and rows without objects or bytes; remove the former, bury the latter."""
    report = CleanupReport()
    while count := await Maintenance(platform.database).entomb_orphans(older_than_seconds, BATCH):
        report.orphans += count
        notice(report)
    while missing := await Maintenance(platform.database).bury_missing(BATCH):
        await forget(platform.invalidation, missing)
        report.missing += len(missing)
        notice(report)
    await look_for_bytes(platform, report, platform.settings.byte_checks)
    await purge(platform, report, notice=notice)
    if report.orphans or report.missing or report.without_bytes:
        log.warning("reconciled", **_fields(report))
    return report


async def look_for_bytes(
    platform: Platform, report: CleanupReport, limit: int, *, whole: bool = False
) -> None:
    """Look for the bytes of the next `limit` outputs and originals, and give up the rows that have none. A batch that
    finds any missing is followed by another, so the loss of a restore is found within one walk.

    When most of a batch is missing, more likely than all those pictures the backend itself is: then nothing is given
    up, and the log says so. `whole`: walk through everything and give up all that is missing, for an operator who knows
    that it is lost.
    """
    seen: set[UUID] = set()
    idle = 0
    while limit > 0 and idle < 2:  # the walk may have to begin anew to come back to where this one began
        checks = [
            check
            for check in await Maintenance(platform.database).next_byte_checks(limit)
            if check.id not in seen
        ]
        seen |= {check.id for check in checks}
        missing = [check for check, there in await _look(platform, checks) if not there]
        report.looked_for += len(checks)
        BYTES_LOOKED_FOR.inc(len(checks))
        if not whole and len(missing) >= MANY and len(missing) * 2 > len(checks):
            log.error("bytes_missing_everywhere", looked_for=len(checks), missing=len(missing))
            return
        for check in missing:
            if check.kind == "output":
                await bury(platform, check.id)
            else:
                await lose_original(platform, check.id, check.paths[0])
        report.without_bytes += len(missing)
        if not (missing or whole):
            return
        idle = 0 if checks else idle + 1


async def _look(platform: Platform, checks: list[ByteCheck]) -> list[tuple[ByteCheck, bool]]:
    """Each with whether its bytes are there, as far as Storage says: a few at a time, since nobody waits for this."""
    places = asyncio.Semaphore(AT_ONCE)

    async def there(check: ByteCheck) -> bool:
        try:
            async with places:
                return all([await platform.storage.has_bytes(check.bucket, path) for path in check.paths])
        except DependencyError:  # nothing is known, so nothing is given up; the others are looked at
            return True

    return list(zip(checks, await asyncio.gather(*map(there, checks)), strict=True))


def _fields(report: CleanupReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in CleanupReport.__slots__}

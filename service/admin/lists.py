"""Pages of what operators look through, for the API and the command line."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from service import __version__
from service.admin.schemas import (
    AuditFilter,
    AuditPage,
    BlockedFilter,
    BlockedPage,
    JobFilter,
    JobPage,
    RefusedFilter,
    RefusedPage,
    ReviewFilter,
    ReviewPage,
    SystemPage,
    UserFilter,
    UserPage,
)
from service.admin.store import Admin, Place
from service.health.checks import Checks
from service.platform.cursors import cursor_at, place_of, unreadable
from service.platform.resources import Platform

REVIEWED = {"false": False, "true": True, "all": None}


class Dated(Protocol):
    @property
    def created_at(self) -> datetime: ...


RowT = TypeVar("RowT", bound=Dated)


def _more(rows: Sequence[RowT], limit: int, key: Callable[[RowT], object]) -> str | None:
    """The cursor of the page after `rows`; None when a short page says that it was the last."""
    return cursor_at(rows[-1].created_at, key(rows[-1])) if len(rows) == limit else None


def _place(cursor: str | None) -> Place | None:
    """The place a cursor names, its key an id. Raises ProblemError (invalid_request)."""
    if cursor is None:
        return None
    found = place_of(cursor)
    try:
        return found[0], str(UUID(found[1]))
    except ValueError:
        raise unreadable() from None


async def users(platform: Platform, wanted: UserFilter) -> UserPage:
    rows = await Admin(platform.database).list_users(
        limit=wanted.limit,
        after=_place(wanted.cursor),
        query=wanted.query,
        plan=wanted.plan,
        flagged=wanted.flagged,
        suspended=wanted.suspended,
    )
    return UserPage(users=rows, next_cursor=_more(rows, wanted.limit, lambda row: row.user_id))


async def jobs(platform: Platform, wanted: JobFilter) -> JobPage:
    """Raises ProblemError (user_not_found, conflict)."""
    rows = await Admin(platform.database).list_jobs(
        limit=wanted.limit,
        after=_place(wanted.cursor),
        status=wanted.status,
        op=wanted.op,
        user=wanted.user,
        error=wanted.error,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
    )
    return JobPage(jobs=rows, next_cursor=_more(rows, wanted.limit, lambda row: row.job_id))


async def refused(platform: Platform, wanted: RefusedFilter) -> RefusedPage:
    rows = await Admin(platform.database).list_refused(
        limit=wanted.limit, after=_place(wanted.cursor), reviewed=REVIEWED[wanted.reviewed]
    )
    return RefusedPage(jobs=rows, next_cursor=_more(rows, wanted.limit, lambda row: row.job_id))


async def in_review(platform: Platform, wanted: ReviewFilter) -> ReviewPage:
    """Each picture with a URL that shows it."""
    rows = await Admin(platform.database).list_in_review(limit=wanted.limit, after=_place(wanted.cursor))
    storage, seconds = platform.storage, platform.settings.signed_url_seconds
    buckets = sorted({row.bucket for row in rows})
    signed = await asyncio.gather(
        *(storage.sign_downloads(b, [r.path for r in rows if r.bucket == b], seconds) for b in buckets)
    )
    urls = dict(zip(buckets, signed, strict=True))
    return ReviewPage(
        pictures=[row.model_copy(update={"picture_url": urls[row.bucket][row.path]}) for row in rows],
        next_cursor=_more(rows, wanted.limit, lambda row: row.id),
    )


async def blocked(platform: Platform, wanted: BlockedFilter) -> BlockedPage:
    rows = await Admin(platform.database).list_blocked(
        limit=wanted.limit,
        after=None if wanted.cursor is None else place_of(wanted.cursor),
        sha256=wanted.sha256,
        category=wanted.category,
    )
    return BlockedPage(hashes=rows, next_cursor=_more(rows, wanted.limit, lambda row: row.sha256))


async def audit(platform: Platform, wanted: AuditFilter) -> AuditPage:
    """Raises ProblemError (user_not_found, conflict)."""
    rows = await Admin(platform.database).list_audit(
        limit=wanted.limit,
        before=wanted.cursor,
        actor=wanted.actor,
        subject=wanted.subject,
        action=wanted.action,
    )
    return AuditPage(entries=rows, next_cursor=rows[-1].id if len(rows) == wanted.limit else None)


async def system(platform: Platform) -> SystemPage:
    """What is waiting, late or open, and whether what the service needs answers."""
    settings = platform.settings
    return SystemPage(
        version=__version__,
        release=settings.release,
        environment=settings.environment,
        readiness=await platform.shared(Checks).readiness(),
        report=await Admin(platform.database).system_report(settings.paid_priority),
    )

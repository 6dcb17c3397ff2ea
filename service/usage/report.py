"""Usage of a user: days, sums, averages, quotas; as JSON and as CSV."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from service.platform.errors import ProblemError, invalid_request
from service.platform.settings import Settings
from service.usage.schemas import Averages, Counts, Day, Library, Quota, Savings, Usage
from service.usage.store import QuotaRow, UsageDay, UsageRow

MAX_DAYS = 366
DEFAULT_DAYS = 30


def period(first: date | None, last: date | None) -> tuple[date, date]:
    """The days asked for: up to today and 30 of them by default. Raises ProblemError (invalid_request)."""
    end = last or (max(first, _today()) if first else _today())
    begin = first or (end - timedelta(days=DEFAULT_DAYS - 1) if end.toordinal() >= DEFAULT_DAYS else date.min)
    if not 0 <= (end - begin).days < MAX_DAYS:
        raise ProblemError(
            invalid_request,
            f"from, to: at most {MAX_DAYS} days are told at once, the first before the last.",
        )
    return begin, end


def _today() -> date:
    return datetime.now(UTC).date()


def library_of(settings: Settings, over_quota_since: datetime | None) -> Library:
    """Read-only from the moment that a library is too large, kept for the promised days."""
    until = None
    if over_quota_since is not None:
        until = over_quota_since + timedelta(days=settings.over_quota_days)
    return Library(
        read_only=over_quota_since is not None, over_quota_since=over_quota_since, kept_until=until
    )


def total_of(days: Iterable[UsageDay]) -> Counts:
    sums = dict.fromkeys(Counts.model_fields, 0)
    for day in days:
        for name in sums:
            sums[name] += getattr(day, name)
    return Counts(**sums)


def describe(row: UsageRow, first: date, last: date, settings: Settings) -> Usage:
    total = total_of(row.days)
    return Usage(
        first=first,
        last=last,
        days=[Day(**day.model_dump()) for day in row.days],
        total=total,
        designs=row.designs,
        averages=Averages(
            credits_per_job=_share(total.credits, total.generations),
            credits_per_design=_share(total.credits, row.designs),
            vendor_cost_micros_per_job=_share(total.vendor_cost_micros, total.generations),
            vendor_cost_micros_per_design=_share(total.vendor_cost_micros, row.designs),
        ),
        quotas=[_quota(quota) for quota in row.quotas],
        library=library_of(settings, row.over_quota_since),
    )


def _quota(row: QuotaRow) -> Quota:
    return Quota(**row.model_dump())


def _share(amount: int, among: int) -> float | None:
    return round(amount / among, 4) if among else None


def savings_of(row: UsageRow, first: date, last: date) -> Savings:
    total = total_of(row.days)
    return Savings(
        first=first,
        last=last,
        cache_hits=total.cache_hits,
        generations=total.generations,
        hit_ratio=_share(total.cache_hits, total.cache_hits + total.generations),
        saved_credits=total.saved_credits,
        saved_vendor_cost_micros=total.saved_vendor_cost_micros,
    )


def to_csv(days: Iterable[UsageDay]) -> str:
    """RFC 4180, a line for each day. Cells are dates and whole numbers, so none is a formula to any spreadsheet."""
    out = io.StringIO()
    names = list(UsageDay.model_fields)
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([getattr(day, name) for name in names] for day in days)
    return out.getvalue()

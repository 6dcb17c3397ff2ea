"""From rows to what callers see: signed URLs and nothing internal."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.cache.missing import bury, has_bytes
from service.cache.store import OutputRow
from service.jobs.schemas import JobDocument, Output
from service.jobs.store import JobRow
from service.platform.downloads import download_url, suggested_name
from service.platform.errors import Problem, problem
from service.platform.resources import Platform
from service.usage.meter import Meter


@dataclass(frozen=True, slots=True)
class SignedOutput:
    """An output with URLs that answer for `seconds`, never longer than the output lives."""

    url: str
    thumbnail_url: str
    seconds: int


LOOK_AFTER = timedelta(hours=1)
"""The bytes of a job that ended longer ago are looked for before it is signed: a younger one has just been stored."""


async def sign_checked(platform: Platform, output: OutputRow) -> SignedOutput | None:
    """Sign an output whose bytes are there. None when it is about to expire, or when they are gone: it is buried then.

    For an answer about one output: signing alone would lead to nothing once the bytes are lost.
    """
    signed, there = await asyncio.gather(sign_output(platform, output), has_bytes(platform, output))
    if signed is not None and there:
        return signed
    if output.expires_at is None or output.expires_at > datetime.now(UTC) + timedelta(seconds=1):
        await bury(platform, output.output_id)
    return None


async def sign_output(platform: Platform, output: OutputRow) -> SignedOutput | None:
    """Sign both objects of an output in one call; None when it is about to expire or an object's row is gone."""
    seconds = platform.settings.signed_url_seconds
    if output.expires_at is not None:
        seconds = min(seconds, int((output.expires_at - datetime.now(UTC)).total_seconds()))
    if seconds <= 0:
        return None
    urls = await platform.storage.sign_downloads(output.bucket, [output.path, output.thumb_path], seconds)
    url, thumbnail = urls.get(output.path), urls.get(output.thumb_path)
    if url is None or thumbnail is None:
        return None
    return SignedOutput(url, thumbnail, seconds)


def describe(output: OutputRow) -> Output:
    return Output(**output.model_dump(include=set(Output.model_fields)))


SIGN_UP = "Visitors' results are removed at expires_at. Sign up, then POST /jobs/claim with the job's id to keep it."


async def document(platform: Platform, row: JobRow) -> JobDocument:
    """The document of a job, with fresh URLs when it has an output."""
    signed = None
    if row.output is not None:
        old = row.finished_at is not None and row.finished_at < datetime.now(UTC) - LOOK_AFTER
        signed = await (sign_checked if old else sign_output)(platform, row.output)
    shown = row.output if signed is not None else None
    if shown is not None:
        await platform.shared(Meter).served(shown.user_id, shown.size)
    return JobDocument(
        **row.model_dump(include=_PLAIN),
        **row.waiting.model_dump(),
        expires_at=shown.expires_at if shown else None if row.terminal else row.expires_at,
        output_urls=[signed.url] if signed else [],
        thumbnail_url=signed.thumbnail_url if signed else None,
        download_url=_download(row, signed, shown),
        output=describe(shown) if shown else None,
        error=_error(row),
        hint=SIGN_UP if row.user_id is None and (shown is not None or not row.terminal) else None,
    )


def _download(row: JobRow, signed: SignedOutput | None, output: OutputRow | None) -> str | None:
    if signed is None or output is None:
        return None
    return download_url(signed.url, suggested_name(row.filename, row.op_key, output.path))


_PLAIN = {
    "job_id",
    "status",
    "op_key",
    "progress",
    "step",
    "attempts",
    "created_at",
    "started_at",
    "finished_at",
    "charged",
}


def _error(row: JobRow) -> Problem | None:
    """The stored problem, completed from today's catalogue; a job that succeeded on a later attempt shows none."""
    if row.error is None or row.status == "done":
        return None
    return problem(
        str(row.error.get("code", "internal")),
        str(row.error.get("detail", "")),
        request_id=row.error.get("request_id"),
        retryable=row.error.get("retryable"),
        category=row.error.get("category"),
    )

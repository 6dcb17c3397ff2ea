"""Images as their owner sees them: rows with signed URLs, of which none leads nowhere."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from service.downloads import download_url, suggested_name
from service.errors import Code, ProblemError
from service.intake.hits import forget
from service.library.cursors import cursor_of, place
from service.library.image_schemas import (
    BulkAnswer,
    BulkRequest,
    BulkResult,
    Image,
    ImageDocument,
    ImageFilter,
    ImagePage,
    ImageVersion,
    SignedVersion,
)
from service.library.shelves import ImageChange, ImageRow, VersionRow
from service.missing import bury
from service.resources import Resources
from service.storage import LIBRARY, ObjectNotFoundError

log = structlog.get_logger()
ORIGINAL_SECONDS = 120
LEAST_SECONDS = 30
"""An output with less life than this gets no URL any more: a batch is signed for as long as its shortest lives."""
TEAM_REFUSALS = (Code.role_required, Code.plan_required, Code.team_suspended)
"""Of whatever changes a picture, should it be a team's."""
ARCHIVED = {"false": False, "true": True, "all": None}

Urls = dict[tuple[str, str], str | None]


def image_not_found(image_id: UUID) -> ProblemError:
    """For an image that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(Code.image_not_found, f"No image of yours has the id {image_id}.")


async def list_page(resources: Resources, user_id: UUID, wanted: ImageFilter) -> ImagePage:
    """A page of the user's images: one query, one call of Storage for each bucket. Raises ProblemError."""
    rows = await resources.shelves.list_images(
        user_id,
        limit=wanted.limit + 1,
        after=place(wanted.cursor) if wanted.cursor is not None else None,
        archived=ARCHIVED[wanted.archived],
        op=wanted.op,
        collection_id=wanted.collection_id,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        query=wanted.q if wanted.q and not wanted.q.isspace() else None,
        team_id=wanted.team_id,
    )
    page = rows[: wanted.limit]
    shown = [row.current for row in page if row.current is not None]
    urls = await _sign(resources, shown, thumbnails_only=True)
    await _bury(
        resources, [output for output in shown if urls.get((output.bucket, output.thumb_path), "") is None]
    )
    return ImagePage(
        images=[Image(**_facts(row, urls)) for row in page],
        next_cursor=cursor_of(page[-1]) if len(rows) > wanted.limit else None,
    )


async def image_document(resources: Resources, user_id: UUID, image_id: UUID) -> ImageDocument:
    """One image with its outputs and, where it is kept, its original. Raises ProblemError."""
    row = await resources.shelves.get_image(image_id, user_id)
    if row is None:
        raise image_not_found(image_id)
    urls, original_url = await asyncio.gather(
        _sign(resources, row.outputs, thumbnails_only=False), _original_url(resources, row)
    )
    signed, lost = [], []
    for output in row.outputs:
        url, thumbnail = (urls.get((output.bucket, path), "") for path in (output.path, output.thumb_path))
        if url is None or thumbnail is None:
            lost.append(output)
        elif url and thumbnail:
            name = suggested_name(row.filename, output.op_key, output.path)
            signed.append(
                SignedVersion(
                    **_version(output),
                    url=url,
                    thumbnail_url=thumbnail,
                    download_url=download_url(url, name),
                )
            )
    await _bury(resources, lost)
    original = row.size if original_url is not None else 0
    await resources.meter.served(user_id, original + sum(version.size for version in signed))
    gone = {output.output_id for output in lost}
    if row.current is not None and row.current.output_id in gone:
        left = [output for output in row.outputs if output.output_id not in gone]
        row = row.model_copy(update={"current": left[0] if left else None})
    facts = _facts(row, urls) | {"versions": row.versions - len(lost)}
    return ImageDocument(**facts, outputs=signed, original_url=original_url)


async def change_one(
    resources: Resources,
    user_id: UUID,
    image_id: UUID,
    action: ImageChange,
    collection_id: UUID | None = None,
) -> None:
    """Archive, unarchive, add to or remove from a collection. Repeating it is harmless. Raises ProblemError."""
    changed = await resources.shelves.change_images(user_id, [image_id], action, collection_id)
    if not changed.done:
        raise image_not_found(image_id)


async def change_many(resources: Resources, user_id: UUID, request: BulkRequest) -> BulkAnswer:
    """All in one transaction: what is the caller's is done, or after a failure nothing. Raises ProblemError."""
    image_ids = list(dict.fromkeys(request.image_ids))
    changed = await resources.shelves.change_images(user_id, image_ids, request.action, request.collection_id)
    await forget(resources.invalidation, changed.forget)
    done = set(changed.done)
    return BulkAnswer(
        results=[
            BulkResult(image_id=image_id, done=True)
            if image_id in done
            else BulkResult(image_id=image_id, done=False, code="image_not_found")
            for image_id in image_ids
        ]
    )


async def _sign(resources: Resources, outputs: Sequence[VersionRow], *, thumbnails_only: bool) -> Urls:
    """URLs by bucket and path, one call of Storage for each bucket; None where there is no object. Outputs at the
    very end of their life are left out."""
    now = datetime.now(UTC)
    paths: dict[str, list[str]] = defaultdict(list)
    seconds: dict[str, int] = defaultdict(lambda: resources.settings.signed_url_seconds)
    for output in outputs:
        if output.expires_at is not None:
            left = int((output.expires_at - now).total_seconds())
            if left < LEAST_SECONDS:
                continue
            seconds[output.bucket] = min(seconds[output.bucket], left)
        paths[output.bucket] += [output.thumb_path] if thumbnails_only else [output.thumb_path, output.path]
    found = await asyncio.gather(
        *(resources.storage.sign_downloads(bucket, names, seconds[bucket]) for bucket, names in paths.items())
    )
    return {
        (bucket, path): url for bucket, urls in zip(paths, found, strict=True) for path, url in urls.items()
    }


async def _original_url(resources: Resources, row: ImageRow) -> str | None:
    if row.original_path is None:
        return None
    try:
        url = await resources.storage.sign_download(LIBRARY, row.original_path, ORIGINAL_SECONDS)
    except ObjectNotFoundError:
        log.warning("original_missing", image_id=str(row.image_id))
        return None
    return download_url(url, suggested_name(row.filename, "", row.original_path))


async def _bury(resources: Resources, lost: Iterable[VersionRow]) -> None:
    """Take rows without an object out of lists and caches: nobody may be sent there again."""
    for output in lost:
        await bury(resources, output.output_id)


def _facts(row: ImageRow, urls: Urls) -> dict[str, Any]:
    """The fields of an Image. Its current output is told only while its thumbnail is there."""
    current = row.current
    url = None if current is None else urls.get((current.bucket, current.thumb_path), "")
    lost = current is not None and url is None
    return {
        **row.model_dump(include=_PLAIN),
        "original_kept": row.original_path is not None,
        "versions": row.versions - lost,
        "current": None if current is None or lost else ImageVersion(**_version(current)),
        "thumbnail_url": url or None,
    }


_PLAIN = set(Image.model_fields) & set(ImageRow.model_fields) - {"versions", "current"}


def _version(output: VersionRow) -> dict[str, Any]:
    return output.model_dump(include=set(ImageVersion.model_fields))

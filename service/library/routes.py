"""Routes of the library: keeping, promoting, versions, claims."""

from uuid import UUID

from fastapi import APIRouter, Request

from service.access.errors import spend_cap_reached
from service.access.limits import Admitted, SignedIn
from service.cache.hot_answers import forget
from service.cache.store import Forget
from service.credits.errors import insufficient_credits
from service.jobs.documents import sign_checked
from service.jobs.errors import job_not_found
from service.library import promote as promotion
from service.library.claim import claim
from service.library.errors import (
    collection_not_found,
    image_not_found,
    no_such_image,
    no_such_output,
    not_in_library,
    output_expired,
    output_not_found,
    output_removed,
)
from service.library.image_store import Images
from service.library.images import change_one
from service.library.keep import check_days
from service.library.schemas import (
    ClaimAnswer,
    ClaimedJob,
    ClaimRequest,
    KeepRequest,
    OutputDocument,
    PromoteRequest,
)
from service.library.store import Library, LibraryOutput
from service.moderation.errors import in_review, infected, refused
from service.plans.errors import storage_full
from service.platform.downloads import download_url, suggested_name
from service.platform.errors import (
    conflict,
    data_deletion_running,
    malformed_json,
    sign_in_required,
)
from service.platform.problems import responses
from service.platform.resources import Platform, platform_of
from service.teams.errors import TEAM_REFUSALS, team_not_found
from service.usage.meter import Meter

router = APIRouter(tags=["library"])


async def _document(platform: Platform, output: LibraryOutput) -> OutputDocument:
    """An output with fresh URLs. Raises ProblemError (output_expired) when its objects are gone."""
    signed = await sign_checked(platform, output)
    if signed is None:
        raise output_removed()
    await platform.shared(Meter).served(output.user_id, output.size)
    fields = output.model_dump(include=set(OutputDocument.model_fields))
    return OutputDocument(
        **fields,
        url=signed.url,
        thumbnail_url=signed.thumbnail_url,
        download_url=download_url(signed.url, suggested_name(output.filename, output.op_key, output.path)),
    )


@router.get(
    "/outputs/{output_id}",
    responses=responses(sign_in_required, output_not_found, output_expired),
)
async def get_output(output_id: UUID, request: Request, user_id: SignedIn) -> OutputDocument:
    """An output of yours or of a team of yours, with freshly signed URLs.

    `job_id` is a job of yours that has this output; null where others of a team have made it.
    """
    platform = platform_of(request)
    output = await Library(platform.database).get_output(output_id, user_id)
    if output is None:
        raise no_such_output(output_id)
    return await _document(platform, output)


@router.patch(
    "/outputs/{output_id}",
    responses=responses(
        sign_in_required,
        malformed_json,
        output_not_found,
        output_expired,
        *TEAM_REFUSALS,
    ),
)
async def keep_output(
    output_id: UUID, body: KeepRequest, request: Request, user_id: SignedIn
) -> OutputDocument:
    """Keep an ephemeral output for some days from now; it never gets fewer than it has."""
    platform = platform_of(request)
    check_days(body.keep_for_days, platform.settings)
    output = await Library(platform.database).keep_output(output_id, user_id, body.keep_for_days)
    if output is None:
        raise no_such_output(output_id)
    # A hot answer would still tell the earlier end.
    await forget(platform.invalidation, [Forget(cache_key=output.cache_key, owner_id=output.owner_id)])
    return await _document(platform, output)


@router.post(
    "/outputs/promote",
    responses=responses(
        sign_in_required,
        malformed_json,
        storage_full,
        refused,
        team_not_found,
        *TEAM_REFUSALS,
        infected,
        insufficient_credits,
        spend_cap_reached,
        output_not_found,
        job_not_found,
        collection_not_found,
        conflict,
        in_review,
        data_deletion_running,
        output_expired,
    ),
)
async def promote(
    body: PromoteRequest, request: Request, user_id: SignedIn, caller: Admitted
) -> OutputDocument:
    """Move a finished output into the library, and have its original kept as well.

    Repeating it gives the same answer and costs nothing more. URLs of the ephemeral output answer as long as they
    were signed for. The original follows within seconds, where its upload still lives and `keep_original` is on. With
    `team_id` the image moves to that team first, as by `POST /teams/{team_id}/images`.
    """
    platform = platform_of(request)
    if body.collection_id is not None:  # asked before anything is moved
        await Images(platform.database).change_images(user_id, [], "add", body.collection_id)
    output = await promotion.promote(
        platform,
        user_id,
        output_id=body.output_id,
        job_id=body.job_id,
        team_id=body.team_id,
        key_id=caller.key_id,
    )
    if body.collection_id is not None:
        await change_one(platform, user_id, output.image_id, "add", body.collection_id)
    return await _document(platform, output)


@router.post(
    "/outputs/{output_id}/restore",
    responses=responses(sign_in_required, output_not_found, not_in_library, *TEAM_REFUSALS),
)
async def restore_output(output_id: UUID, request: Request, user_id: SignedIn) -> OutputDocument:
    """Make an earlier version the one that its image shows. No version is made or lost."""
    platform = platform_of(request)
    output = await Library(platform.database).restore_output(output_id, user_id)
    if output is None:
        raise no_such_output(output_id)
    return await _document(platform, output)


@router.delete(
    "/outputs/{output_id}",
    status_code=204,
    responses=responses(sign_in_required, output_not_found, *TEAM_REFUSALS),
)
async def delete_output(output_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Remove one output. Its bytes go within minutes; the newest version left is shown in its place."""
    platform = platform_of(request)
    gone = await Library(platform.database).delete_output(output_id, user_id)
    if gone is None:
        raise no_such_output(output_id)
    await forget(platform.invalidation, gone)


@router.delete(
    "/images/{image_id}",
    status_code=204,
    responses=responses(sign_in_required, image_not_found, *TEAM_REFUSALS),
)
async def delete_image(image_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Remove an image: its original, every output, every upload it came from. Other people's copies are theirs."""
    platform = platform_of(request)
    gone = await Library(platform.database).delete_image(image_id, user_id)
    if gone is None:
        raise no_such_image(image_id)
    await forget(platform.invalidation, gone)


@router.post(
    "/jobs/claim",
    responses=responses(sign_in_required, malformed_json, job_not_found, data_deletion_running),
)
async def claim_jobs(body: ClaimRequest, request: Request, user_id: SignedIn) -> ClaimAnswer:
    """Take over jobs that were made without signing in: whoever holds the id of one may have it, once.

    What visitors share (the job and the output of a hit) stays theirs: the caller gets a job and an output of their
    own, under other ids. A job for which the caller has an unfinished one already stays as it is.
    """
    mine = await claim(platform_of(request), user_id, body.job_ids)
    return ClaimAnswer(
        job_ids=list(dict.fromkeys(mine.values())),
        claims=[ClaimedJob(claimed_id=claimed_id, job_id=job_id) for claimed_id, job_id in mine.items()],
    )

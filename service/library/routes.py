"""The library's own calls: settings, keeping, promoting, versions, re-runs, claims."""

from uuid import UUID

from fastapi import APIRouter, Request

from service.billing.usage import library_of
from service.database import Forget
from service.downloads import download_url, suggested_name
from service.errors import Code, ProblemError, responses
from service.intake.hits import forget
from service.intake.intake import check_days
from service.jobs.documents import sign_checked
from service.library import promote as promotion
from service.library.claim import claim
from service.library.images import TEAM_REFUSALS, change_one, image_not_found
from service.library.promote import output_not_found
from service.library.rerun import rerun
from service.library.schemas import (
    ClaimAnswer,
    ClaimedJob,
    ClaimRequest,
    KeepRequest,
    Me,
    OutputDocument,
    Plan,
    PromoteRequest,
    RerunAnswer,
    RerunRequest,
    Settings,
    SettingsChange,
)
from service.library.store import LibraryOutput, Profile
from service.limits import Admitted, SignedIn
from service.resources import Resources, resources_of

router = APIRouter(tags=["library"])


def _me(resources: Resources, profile: Profile | None) -> Me:
    if profile is None or profile.user_id is None:
        raise ProblemError(Code.invalid_token, "This account no longer exists.")
    return Me(
        user_id=profile.user_id,
        plan=Plan(id=profile.plan_id, name=profile.plan_name, **profile.model_dump(include=_PLAN)),
        settings=Settings(**profile.model_dump(include=set(Settings.model_fields))),
        credits=profile.balance,
        library=library_of(resources.settings, profile.over_quota_since),
    )


_PLAN = set(Plan.model_fields) - {"id", "name"}


async def _document(resources: Resources, output: LibraryOutput) -> OutputDocument:
    """An output with fresh URLs. Raises ProblemError (output_expired) when its objects are gone."""
    signed = await sign_checked(resources, output)
    if signed is None:
        raise ProblemError(Code.output_expired, "The picture has been removed; make it again.")
    await resources.meter.served(output.user_id, output.size)
    fields = output.model_dump(include=set(OutputDocument.model_fields))
    return OutputDocument(
        **fields,
        url=signed.url,
        thumbnail_url=signed.thumbnail_url,
        download_url=download_url(signed.url, suggested_name(output.filename, output.op_key, output.path)),
    )


@router.get("/me", responses=responses(Code.sign_in_required))
async def get_me(request: Request, user_id: SignedIn) -> Me:
    """Plan, settings and credits of the caller."""
    resources = resources_of(request)
    return _me(resources, await resources.library.get_profile(user_id))


@router.patch("/me", responses=responses(Code.sign_in_required, Code.malformed_json, Code.plan_required))
async def patch_me(body: SettingsChange, request: Request, user_id: SignedIn) -> Me:
    """Change settings. Fewer `versions_to_keep` take effect within minutes, on every image."""
    resources = resources_of(request)
    profile = await resources.library.set_profile(user_id, body.model_dump(exclude_unset=True))
    resources.profiles.put(user_id, profile)
    return _me(resources, profile)


@router.get(
    "/outputs/{output_id}",
    responses=responses(Code.sign_in_required, Code.output_not_found, Code.output_expired),
)
async def get_output(output_id: UUID, request: Request, user_id: SignedIn) -> OutputDocument:
    """An output of yours or of a team of yours, with freshly signed URLs.

    `job_id` is a job of yours that has this output; null where others of a team have made it.
    """
    resources = resources_of(request)
    output = await resources.library.get_output(output_id, user_id)
    if output is None:
        raise output_not_found(output_id)
    return await _document(resources, output)


@router.patch(
    "/outputs/{output_id}",
    responses=responses(
        Code.sign_in_required,
        Code.malformed_json,
        Code.output_not_found,
        Code.output_expired,
        *TEAM_REFUSALS,
    ),
)
async def keep_output(
    output_id: UUID, body: KeepRequest, request: Request, user_id: SignedIn
) -> OutputDocument:
    """Keep an ephemeral output for some days from now; it never gets fewer than it has."""
    resources = resources_of(request)
    check_days(body.keep_for_days, resources.settings)
    output = await resources.library.keep_output(output_id, user_id, body.keep_for_days)
    if output is None:
        raise output_not_found(output_id)
    # A hot answer would still tell the earlier end.
    await forget(resources.invalidation, [Forget(cache_key=output.cache_key, owner_id=output.owner_id)])
    return await _document(resources, output)


@router.post(
    "/outputs/promote",
    responses=responses(
        Code.sign_in_required,
        Code.malformed_json,
        Code.storage_full,
        Code.refused,
        Code.team_not_found,
        *TEAM_REFUSALS,
        Code.infected,
        Code.insufficient_credits,
        Code.spend_cap_reached,
        Code.output_not_found,
        Code.job_not_found,
        Code.collection_not_found,
        Code.conflict,
        Code.in_review,
        Code.data_deletion_running,
        Code.output_expired,
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
    resources = resources_of(request)
    if body.collection_id is not None:  # asked before anything is moved
        await resources.shelves.change_images(user_id, [], "add", body.collection_id)
    output = await promotion.promote(
        resources,
        user_id,
        output_id=body.output_id,
        job_id=body.job_id,
        team_id=body.team_id,
        key_id=caller.key_id,
    )
    if body.collection_id is not None:
        await change_one(resources, user_id, output.image_id, "add", body.collection_id)
    return await _document(resources, output)


@router.post(
    "/outputs/{output_id}/restore",
    responses=responses(Code.sign_in_required, Code.output_not_found, Code.not_in_library, *TEAM_REFUSALS),
)
async def restore_output(output_id: UUID, request: Request, user_id: SignedIn) -> OutputDocument:
    """Make an earlier version the one that its image shows. No version is made or lost."""
    resources = resources_of(request)
    output = await resources.library.restore_output(output_id, user_id)
    if output is None:
        raise output_not_found(output_id)
    return await _document(resources, output)


@router.delete(
    "/outputs/{output_id}",
    status_code=204,
    responses=responses(Code.sign_in_required, Code.output_not_found, *TEAM_REFUSALS),
)
async def delete_output(output_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Remove one output. Its bytes go within minutes; the newest version left is shown in its place."""
    resources = resources_of(request)
    gone = await resources.library.delete_output(output_id, user_id)
    if gone is None:
        raise output_not_found(output_id)
    await forget(resources.invalidation, gone)


@router.delete(
    "/images/{image_id}",
    status_code=204,
    responses=responses(Code.sign_in_required, Code.image_not_found, *TEAM_REFUSALS),
)
async def delete_image(image_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Remove an image: its original, every output, every upload it came from. Other people's copies are theirs."""
    resources = resources_of(request)
    gone = await resources.library.delete_image(image_id, user_id)
    if gone is None:
        raise image_not_found(image_id)
    await forget(resources.invalidation, gone)


@router.post(
    "/images/{image_id}/rerun",
    responses=responses(
        Code.sign_in_required,
        Code.malformed_json,
        Code.image_not_found,
        Code.original_missing,
        *TEAM_REFUSALS,
        Code.bad_op_key,
        Code.unknown_op,
        Code.bad_parameter,
        Code.op_unavailable,
        Code.insufficient_credits,
        Code.spend_cap_reached,
        Code.plan_required,
        Code.quota_exceeded,
        Code.storage_full,
        Code.too_many_jobs,
        Code.data_deletion_running,
        Code.overloaded,
    ),
)
async def rerun_image(
    image_id: UUID, body: RerunRequest, request: Request, user_id: SignedIn, caller: Admitted
) -> RerunAnswer:
    """Other ops on the same original without an upload: from the library, or from an upload that still lives.

    Each op is a hit or a job, as of an intake; several at once are for comparing.
    """
    request_id = request.scope.get("darkroom.request_id")
    resources = resources_of(request)
    return RerunAnswer(
        results=await rerun(resources, user_id, image_id, body.wanted, request_id, key_id=caller.key_id)
    )


@router.post(
    "/jobs/claim",
    responses=responses(
        Code.sign_in_required, Code.malformed_json, Code.job_not_found, Code.data_deletion_running
    ),
)
async def claim_jobs(body: ClaimRequest, request: Request, user_id: SignedIn) -> ClaimAnswer:
    """Take over jobs that were made without signing in: whoever holds the id of one may have it, once.

    What visitors share (the job and the output of a hit) stays theirs: the caller gets a job and an output of their
    own, under other ids. A job for which the caller has an unfinished one already stays as it is.
    """
    mine = await claim(resources_of(request), user_id, body.job_ids)
    return ClaimAnswer(
        job_ids=list(dict.fromkeys(mine.values())),
        claims=[ClaimedJob(claimed_id=claimed_id, job_id=job_id) for claimed_id, job_id in mine.items()],
    )

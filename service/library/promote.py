"""Promote: a finished output moves from outputs-ephemeral to the library of its owner, or of a team.

Storage copies under keys of this call; then one transaction gives the row its new place, takes the price and marks the
old objects. A call that dies in between leaves two objects that the next one, or the reconciler, removes.
"""

import asyncio
from pathlib import PurePosixPath
from uuid import UUID

from service.database import Scan
from service.errors import Code, ProblemError
from service.intake.hits import forget
from service.library.store import LibraryOutput
from service.missing import bury
from service.resources import Resources
from service.safety.judgement import moderate
from service.safety.moderation import Exhibit, Picture
from service.safety.scanner import scan_files
from service.storage import LIBRARY, ObjectNotFoundError, output_names
from service.teams.moves import give_images


def output_not_found(output_id: UUID) -> ProblemError:
    """For an output that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(Code.output_not_found, f"No output of yours has the id {output_id}.")


async def promote(  # noqa: PLR0913
    resources: Resources,
    user_id: UUID,
    *,
    output_id: UUID | None = None,
    job_id: UUID | None = None,
    team_id: UUID | None = None,
    charge: bool = True,
    key_id: UUID | None = None,
) -> LibraryOutput:
    """The output of that id, or of that job, in the library; with `team_id` in that team's, where its image moves
    first. Repeating it changes nothing.

    Raises ProblemError: output_not_found, output_expired, plan_required, insufficient_credits, conflict, infected,
    refused, team_not_found, role_required, in_review; spend_cap_reached of the API key `key_id`.
    """
    library = resources.library
    found = await library.find_promotable(user_id, output_id=output_id, job_id=job_id, team_id=team_id)
    if found is not None and team_id is not None and found.team_id is None:
        moved = await give_images(resources, user_id, team_id, [found.image_id])
        if moved.in_review:
            raise ProblemError(
                Code.in_review,
                "An operator has yet to approve this picture: until then it cannot move to a team.",
            )
        found = await library.find_promotable(user_id, output_id=output_id, job_id=job_id, team_id=team_id)
    if found is None:
        if job_id is not None:
            raise ProblemError(Code.job_not_found, f"No job of yours has the id {job_id}.")
        raise output_not_found(output_id or UUID(int=0))
    if found.bucket == LIBRARY:
        return found
    # Under the key that the output has already, so that promote_output finds what a call that died has copied.
    name = PurePosixPath(found.path)
    folder = f"{found.owner_id}/{found.image_id}/output/"
    path, thumb = output_names(name.name.partition(".")[0], name.suffix, folder)
    try:
        scan = await _inspect(resources, user_id, found)
        await asyncio.gather(
            resources.storage.copy(found.bucket, found.path, path, target_bucket=LIBRARY),
            resources.storage.copy(found.bucket, found.thumb_path, thumb, target_bucket=LIBRARY),
        )
    except ObjectNotFoundError:
        return await _without_objects(resources, user_id, found)
    promoted = await library.promote_output(
        found.output_id, user_id, path, thumb, charge=charge, api_key_id=key_id
    )
    if promoted is None:
        raise output_not_found(found.output_id)
    await forget(resources.invalidation, promoted.forget)
    if scan != promoted.scan:
        await resources.safety.mark_scanned(promoted.output_id, scan)
    return promoted.model_copy(update={"scan": scan})


async def _inspect(resources: Resources, user_id: UUID, found: LibraryOutput) -> Scan:
    """What was made in passing is judged and scanned again when it is to be kept; hashes that were blocked meanwhile
    have no output any more. Raises as moderate and scan_files do."""
    moderated = any(moderator.looks_at_files for moderator in resources.moderators)
    scanned = resources.settings.clamd_url is not None and found.scan != "clean"
    if not moderated and not scanned:
        return found.scan
    with resources.scratch.directory() as directory:
        file = directory / "output"
        await resources.storage.download(found.bucket, found.path, file, max_bytes=found.size)
        if moderated:
            source = await resources.library.get_image_source(found.image_id, user_id)
            output = Picture(file, found.content_type, found.sha256)
            sha256 = found.sha256 if source is None else source.sha256
            await moderate(resources, Exhibit(sha256, None, output, user_id, persistent=True))
        return await scan_files(resources, [file], found.sha256) if scanned else found.scan


async def _without_objects(resources: Resources, user_id: UUID, found: LibraryOutput) -> LibraryOutput:
    """The objects have gone between the question and the copy: moved by another call, or removed."""
    again = await resources.library.find_promotable(user_id, output_id=found.output_id, job_id=None)
    if again is not None and again.bucket == LIBRARY:
        return again
    await bury(resources, found.output_id)
    raise ProblemError(Code.output_expired, "The picture has been removed; make it again.")

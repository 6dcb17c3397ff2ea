"""Promote: a finished output moves from outputs-ephemeral to the library of its owner, or of a team.

Storage copies under keys of this call; then one transaction gives the row its new place, takes the price and marks the
old objects. A call that dies in between leaves two objects that the next one, or the reconciler, removes.
"""

from pathlib import PurePosixPath
from uuid import UUID

from service.cache.copies import copy_output
from service.cache.hot_answers import forget
from service.cache.missing import bury
from service.cache.store import Scan
from service.jobs.errors import no_such_job
from service.library.errors import no_such_output, output_removed
from service.library.store import Library, LibraryOutput
from service.moderation.errors import in_review
from service.moderation.moderate import moderate
from service.moderation.moderators import Moderators
from service.moderation.port import Picture, Submission
from service.moderation.scanner import scan_files
from service.moderation.store import Safety
from service.platform.errors import ProblemError
from service.platform.resources import Platform
from service.platform.storage import LIBRARY, output_names
from service.platform.storage_errors import ObjectNotFoundError
from service.teams.transfer import give_images


async def promote(  # noqa: PLR0913
    platform: Platform,
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
    library = Library(platform.database)
    found = await _promotable(platform, user_id, output_id, job_id, team_id)
    if found.bucket == LIBRARY:
        return found
    try:
        scan = await _inspect(platform, user_id, found)
        path, thumb = await _copied(platform, found)
    except ObjectNotFoundError:
        return await _without_objects(platform, user_id, found)
    promoted = await library.promote_output(
        found.output_id, user_id, path, thumb, charge=charge, api_key_id=key_id
    )
    if promoted is None:
        raise no_such_output(found.output_id)
    await forget(platform.invalidation, promoted.forget)
    if scan != promoted.scan:
        await Safety(platform.database).mark_scanned(promoted.output_id, scan)
    return promoted.model_copy(update={"scan": scan})


async def _promotable(
    platform: Platform, user_id: UUID, output_id: UUID | None, job_id: UUID | None, team_id: UUID | None
) -> LibraryOutput:
    """The output that is meant, its image in the team by now."""
    library = Library(platform.database)
    found = await library.find_promotable(user_id, output_id=output_id, job_id=job_id, team_id=team_id)
    if found is not None and team_id is not None and found.team_id is None:
        moved = await give_images(platform, user_id, team_id, [found.image_id])
        if moved.in_review:
            raise ProblemError(
                in_review,
                "An operator has yet to approve this picture: until then it cannot move to a team.",
            )
        found = await library.find_promotable(user_id, output_id=output_id, job_id=job_id, team_id=team_id)
    if found is None:
        if job_id is not None:
            raise no_such_job(job_id)
        raise no_such_output(output_id or UUID(int=0))
    return found


async def _copied(platform: Platform, found: LibraryOutput) -> tuple[str, str]:
    """The names of output and thumbnail in the library, where they are by now. Raises ObjectNotFoundError."""
    # Under the key that the output has already, so that promote_output finds what a call that died has copied.
    name = PurePosixPath(found.path)
    folder = f"{found.owner_id}/{found.image_id}/output/"
    path, thumb = output_names(name.name.partition(".")[0], name.suffix, folder)
    await copy_output(platform.storage, found, LIBRARY, path, thumb)
    return path, thumb


async def _inspect(platform: Platform, user_id: UUID, found: LibraryOutput) -> Scan:
    """What was made in passing is judged and scanned again when it is to be kept; hashes that were blocked meanwhile
    have no output any more. Raises as moderate and scan_files do."""
    moderated = any(moderator.looks_at_files for moderator in platform.shared(Moderators).all)
    scanned = platform.settings.clamd_url is not None and found.scan != "clean"
    if not moderated and not scanned:
        return found.scan
    with platform.scratch.directory() as directory:
        file = directory / "output"
        await platform.storage.download(found.bucket, found.path, file, max_bytes=found.size)
        if moderated:
            source = await Library(platform.database).get_image_source(found.image_id, user_id)
            output = Picture(file, found.content_type, found.sha256)
            sha256 = found.sha256 if source is None else source.sha256
            await moderate(platform, Submission(sha256, None, output, user_id, persistent=True))
        return await scan_files(platform, [file], found.sha256) if scanned else found.scan


async def _without_objects(platform: Platform, user_id: UUID, found: LibraryOutput) -> LibraryOutput:
    """The objects have gone between the question and the copy: moved by another call, or removed."""
    again = await Library(platform.database).find_promotable(user_id, output_id=found.output_id, job_id=None)
    if again is not None and again.bucket == LIBRARY:
        return again
    await bury(platform, found.output_id)
    raise output_removed()

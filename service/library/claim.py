"""Claim: a caller who has signed up takes over the jobs that it made before.

An anonymous output is shared by everybody who asked for the same picture, so the claimer gets bytes of its own. The job
that a visitor's hit answers with is shared as well: it stays, and the claimer gets a job of its own, too.
"""

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID, uuid4

from service.cache.copies import copy_output
from service.cache.missing import bury
from service.jobs.errors import job_not_found
from service.library.store import Claimable, Library
from service.platform.errors import ProblemError
from service.platform.resources import Platform
from service.platform.storage import OUTPUTS, output_names
from service.platform.storage_errors import ObjectNotFoundError

MAX_ROUNDS = 3
"""A job may end between the copying and the claim; after this many rounds the rest is left to the next call."""


async def claim(platform: Platform, user_id: UUID, job_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """For those of `job_ids` that could be claimed, in the order given, the ids of the caller's jobs: the same, or for
    a shared one that of the caller's own. Raises ProblemError (job_not_found) for none."""
    mine: dict[UUID, UUID] = {}
    todo = list(dict.fromkeys(job_ids))
    for _round in range(MAX_ROUNDS):
        found = await Library(platform.database).find_claimable(todo, user_id)
        if not found:
            break
        claims = await asyncio.gather(*(_copied(platform, job) for job in found))
        answer = await Library(platform.database).claim_jobs(
            user_id, claims, platform.settings.output_ttl_hours * 3600
        )
        mine |= answer.jobs
        todo = answer.again
        if not todo:
            break
    if not mine:
        raise ProblemError(job_not_found, "None of these jobs can be claimed: they are unknown or taken.")
    return {job_id: mine[job_id] for job_id in job_ids if job_id in mine}


async def _copied(platform: Platform, job: Claimable) -> dict[str, Any]:
    """The claim of one job, its output copied under a key of the caller's."""
    source = job.output
    if source is None:
        return {"job_id": job.job_id, "path": None, "thumb_path": None}
    path, thumb = output_names(uuid4(), PurePosixPath(source.path).suffix)
    try:
        await copy_output(platform.storage, source, OUTPUTS, path, thumb)
    except ObjectNotFoundError:
        await bury(platform, source.output_id)
        return {"job_id": job.job_id, "path": None, "thumb_path": None}
    return {"job_id": job.job_id, "path": path, "thumb_path": thumb}

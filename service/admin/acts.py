"""What operators do beyond one SQL function: telling workers, listeners and caches. For API and command line."""

from uuid import UUID

from service.admin.rows import AdminJob, AdminJobDetail, AdminUserDetail, Decision, PictureKind
from service.admin.store import Actor
from service.errors import Code, ProblemError
from service.intake.hits import forget
from service.resources import Resources
from service.safety import blocking
from service.safety.blocking import Blocked


def job_not_found(job_id: UUID) -> ProblemError:
    return ProblemError(Code.job_not_found, f"No job has the id {job_id}.")


async def job_detail(resources: Resources, job_id: UUID) -> AdminJobDetail:
    """Raises ProblemError (job_not_found)."""
    job = await resources.admin.get_job(job_id)
    if job is None:
        raise job_not_found(job_id)
    return job


async def set_plan(
    resources: Resources, user_id: UUID, plan_id: str, actor: Actor, reason: str
) -> AdminUserDetail:
    """Another plan, in every process from its next request on. Raises as Admin.set_plan does."""
    user = await resources.admin.set_plan(user_id, plan_id, actor, reason)
    await resources.freshness.changed(user_id)
    return user


async def suspend(resources: Resources, user_id: UUID, actor: Actor, reason: str) -> AdminUserDetail:
    """Stop an account in every process: its requests, keys, jobs, share links and event streams. A sweep completes what
    is cut short here. Raises as Admin.suspend does."""
    await resources.admin.suspend(user_id, actor, reason, suspended=True)
    await resources.freshness.changed(user_id)
    while ended := await resources.admin.end_blocked_jobs(user_id):
        for job_id in ended:
            await resources.progress.publish(job_id, {"status": "canceled"})
    return await resources.admin.get_user(str(user_id))


async def restore(resources: Resources, user_id: UUID, actor: Actor, reason: str) -> AdminUserDetail:
    """Let an account be used again. Its links open as before; canceled jobs stay canceled. Raises as Admin.suspend
    does."""
    user = await resources.admin.suspend(user_id, actor, reason, suspended=False)
    await resources.freshness.changed(user_id)
    return user


async def replay(resources: Resources, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
    """Start a new attempt at an ended job, and tell a worker. Raises as Admin.replay_job does."""
    job = await resources.admin.replay_job(job_id, actor, reason)
    await resources.doorbell.ring(job.queue)
    return job


async def cancel(resources: Resources, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
    """End a job at no cost, and tell whoever listens. Raises as Admin.cancel_job does."""
    job = await resources.admin.cancel_job(job_id, actor, reason)
    await resources.progress.publish(job_id, {"status": job.status})
    return job


async def block(resources: Resources, sha256: str, actor: Actor, reason: str, *, category: str) -> Blocked:
    """Refuse these bytes from now on, and take away what exists of them; repeating it completes it."""
    return await blocking.block(
        resources, sha256, category=category, reason=reason, by=actor.by, actor=actor.user_id
    )


async def unblock(resources: Resources, sha256: str, actor: Actor, reason: str) -> None:
    """Accept these bytes again. Raises ProblemError (hash_not_blocked)."""
    if not await blocking.unblock(resources, sha256, reason=reason, by=actor.by, actor=actor.user_id):
        raise ProblemError(Code.hash_not_blocked, f"{sha256} is not blocked.")


async def review(  # noqa: PLR0913
    resources: Resources,
    job_id: UUID,
    decision: Decision,
    actor: Actor,
    reason: str,
    *,
    category: str | None = None,
) -> AdminJobDetail:
    """Decide about a refused job; `block` blocks its hash first, under `category` or that of the refusal, so that a
    decision which was cut short is still open. Raises ProblemError (job_not_found, conflict)."""
    if decision == "block":
        job = await job_detail(resources, job_id)
        refusal = job.error or {}
        if job.status != "error" or refusal.get("code") != Code.refused:
            raise ProblemError(Code.conflict, "This job was not refused: there is nothing to review.")
        await block(
            resources, job.sha256, actor, reason, category=category or str(refusal.get("category") or "other")
        )
    return await resources.admin.review(job_id, decision, actor, reason)


async def approve(
    resources: Resources, kind: PictureKind, picture_id: UUID, actor: Actor, reason: str
) -> None:
    """Let a picture in review be shared. Raises ProblemError (conflict)."""
    await forget(
        resources.invalidation, await resources.admin.approve_picture(kind, picture_id, actor, reason)
    )


async def refuse(  # noqa: PLR0913
    resources: Resources, kind: PictureKind, picture_id: UUID, actor: Actor, reason: str, *, category: str
) -> Blocked:
    """Block what a picture in review was made from, which takes it away with all that was made of the same upload.
    Raises ProblemError (conflict)."""
    sha256 = await resources.admin.sha256_in_review(kind, picture_id)
    return await block(resources, sha256, actor, reason, category=category)

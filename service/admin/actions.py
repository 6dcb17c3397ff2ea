"""What operators do beyond one SQL function: telling workers, listeners and caches. For API and command line."""

from uuid import UUID

from service.admin.rows import (
    AdminJob,
    AdminJobDetail,
    AdminUserDetail,
    Decision,
    Lane,
    PictureKind,
    QueuePause,
)
from service.admin.store import Actor, Admin
from service.cache.hot_answers import forget
from service.jobs.errors import job_not_found
from service.jobs.progress import Progress
from service.moderation import blocking
from service.moderation.blocking import Blocked
from service.moderation.errors import hash_not_blocked, refused
from service.platform.errors import ProblemError, conflict
from service.platform.resources import Platform


def no_such_job(job_id: UUID) -> ProblemError:
    return ProblemError(job_not_found, f"No job has the id {job_id}.")


async def job_detail(platform: Platform, job_id: UUID) -> AdminJobDetail:
    """Raises ProblemError (job_not_found)."""
    job = await Admin(platform.database).get_job(job_id)
    if job is None:
        raise no_such_job(job_id)
    return job


async def set_plan(
    platform: Platform, user_id: UUID, plan_id: str, actor: Actor, reason: str
) -> AdminUserDetail:
    """Another plan, in every process from its next request on. Raises as Admin.set_plan does."""
    user = await Admin(platform.database).set_plan(user_id, plan_id, actor, reason)
    await platform.freshness.changed(user_id)
    return user


async def suspend(platform: Platform, user_id: UUID, actor: Actor, reason: str) -> AdminUserDetail:
    """Stop an account in every process: its requests, keys, jobs, share links and event streams. A sweep completes what
    is cut short here. Raises as Admin.suspend does."""
    await Admin(platform.database).suspend(user_id, actor, reason, suspended=True)
    await platform.freshness.changed(user_id)
    while ended := await Admin(platform.database).end_blocked_jobs(user_id):
        for job_id in ended:
            await platform.shared(Progress).publish(job_id, {"status": "canceled"})
    return await Admin(platform.database).get_user(str(user_id))


async def restore(platform: Platform, user_id: UUID, actor: Actor, reason: str) -> AdminUserDetail:
    """Let an account be used again. Its links open as before; canceled jobs stay canceled. Raises as Admin.suspend
    does."""
    user = await Admin(platform.database).suspend(user_id, actor, reason, suspended=False)
    await platform.freshness.changed(user_id)
    return user


async def replay(platform: Platform, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
    """Start a new attempt at an ended job, and tell a worker. Raises as Admin.replay_job does."""
    job = await Admin(platform.database).replay_job(job_id, actor, reason)
    await platform.doorbell.ring(job.queue)
    return job


async def cancel(platform: Platform, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
    """End a job at no cost, and tell whoever listens. Raises as Admin.cancel_job does."""
    job = await Admin(platform.database).cancel_job(job_id, actor, reason)
    await platform.shared(Progress).publish(job_id, {"status": job.status})
    return job


async def resume_lane(platform: Platform, lane_id: int, actor: Actor, reason: str) -> Lane:
    """Let a lane be claimed from again, and tell a worker. Raises as Admin.pause_lane does."""
    lane = await Admin(platform.database).pause_lane(lane_id, actor, reason, paused=False)
    await platform.doorbell.ring(lane.queue)
    return lane


async def resume_queue(platform: Platform, queue: str, actor: Actor, reason: str) -> QueuePause:
    """The same for all lanes of a queue."""
    resumed = await Admin(platform.database).pause_queue(queue, actor, reason, paused=False)
    await platform.doorbell.ring(queue)
    return resumed


async def block(platform: Platform, sha256: str, actor: Actor, reason: str, *, category: str) -> Blocked:
    """Refuse these bytes from now on, and take away what exists of them; repeating it completes it."""
    return await blocking.block(
        platform, sha256, category=category, reason=reason, by=actor.by, actor=actor.user_id
    )


async def unblock(platform: Platform, sha256: str, actor: Actor, reason: str) -> None:
    """Accept these bytes again. Raises ProblemError (hash_not_blocked)."""
    if not await blocking.unblock(platform, sha256, reason=reason, by=actor.by, actor=actor.user_id):
        raise ProblemError(hash_not_blocked, f"{sha256} is not blocked.")


async def review(  # noqa: PLR0913
    platform: Platform,
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
        job = await job_detail(platform, job_id)
        refusal = job.error or {}
        if job.status != "error" or refusal.get("code") != refused:
            raise ProblemError(conflict, "This job was not refused: there is nothing to review.")
        await block(
            platform, job.sha256, actor, reason, category=category or str(refusal.get("category") or "other")
        )
    return await Admin(platform.database).review(job_id, decision, actor, reason)


async def approve(platform: Platform, kind: PictureKind, picture_id: UUID, actor: Actor, reason: str) -> None:
    """Let a picture in review be shared. Raises ProblemError (conflict)."""
    await forget(
        platform.invalidation, await Admin(platform.database).approve_picture(kind, picture_id, actor, reason)
    )


async def refuse(  # noqa: PLR0913
    platform: Platform, kind: PictureKind, picture_id: UUID, actor: Actor, reason: str, *, category: str
) -> Blocked:
    """Block what a picture in review was made from, which takes it away with all that was made of the same upload.
    Raises ProblemError (conflict)."""
    sha256 = await Admin(platform.database).sha256_in_review(kind, picture_id)
    return await block(platform, sha256, actor, reason, category=category)

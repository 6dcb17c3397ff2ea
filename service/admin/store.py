"""The SQL functions of 99_admin*.sql, one typed method each; see platform/database.py, whose rules and errors hold."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.admin.rows import (
    AbuseSignal,
    AdminJob,
    AdminJobDetail,
    AdminRow,
    AdminUser,
    AdminUserDetail,
    AuditEntry,
    BlockedHash,
    CreditChange,
    Decision,
    Lane,
    Lanes,
    PictureInReview,
    PictureKind,
    QueuePause,
    RefusedJob,
    Role,
    RoleChange,
    SystemReport,
)
from service.cache.store import Forget
from service.jobs.store import Status
from service.platform.database import Database

Place = tuple[datetime, str]
"""Where a page begins: created_at and key of the row before it."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: an account over the API (`by` is 'api'), or `cli:<user of the machine>`."""

    user_id: UUID | None
    by: str

    def because(self, reason: str) -> dict[str, Any]:
        """The parameters that every act ends with."""
        return {"actor": self.user_id, "by": self.by, "reason": reason}


class Admin:
    """Typed access to what operators may do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Roles

    async def role(self, user_id: UUID) -> Role | None:
        role: Role | None = await self._database.run("admin_role", user_id=user_id)
        return role

    async def list_admins(self) -> list[AdminRow]:
        return await self._database.many(AdminRow, "list_admins")

    async def grant_role(self, who: str, role: Role, by: str, reason: str) -> RoleChange:
        """`who`: an account's id or address. Raises ProblemError (user_not_found, conflict)."""
        return await self._database.one(RoleChange, "grant_admin", who=who, role=role, by=by, reason=reason)

    async def revoke_role(self, who: str, by: str, reason: str) -> RoleChange:
        """Raises as grant_role does; `before` None: there was nothing to revoke."""
        return await self._database.one(RoleChange, "revoke_admin", who=who, by=by, reason=reason)

    # Users

    async def list_users(  # noqa: PLR0913 - the SQL function's own
        self,
        *,
        limit: int,
        after: Place | None = None,
        query: str | None = None,
        plan: str | None = None,
        flagged: bool | None = None,
        suspended: bool | None = None,
    ) -> list[AdminUser]:
        """Newest first. `query`: an id, or a part of an address."""
        return await self._database.many(
            AdminUser,
            "admin_users",
            **_page(limit, after),
            query=query,
            plan=plan,
            flagged=flagged,
            suspended=suspended,
        )

    async def get_user(self, who: str) -> AdminUserDetail:
        """`who`: an id or an address. Raises ProblemError (user_not_found, conflict)."""
        return await self._database.one(AdminUserDetail, "admin_user", who=who)

    async def set_plan(self, user_id: UUID, plan_id: str, actor: Actor, reason: str) -> AdminUserDetail:
        """Raises ProblemError (user_not_found, plan_not_found)."""
        return await self._database.one(
            AdminUserDetail, "admin_set_plan", user_id=user_id, plan_id=plan_id, **actor.because(reason)
        )

    async def flag(self, user_id: UUID, actor: Actor, reason: str, *, flagged: bool) -> AdminUserDetail:
        """Mark an account for others to see, or take the mark away. Raises ProblemError (user_not_found)."""
        return await self._database.one(
            AdminUserDetail, "admin_flag", user_id=user_id, flagged=flagged, **actor.because(reason)
        )

    async def suspend(self, user_id: UUID, actor: Actor, reason: str, *, suspended: bool) -> AdminUserDetail:
        """Stop an account, or let it be used again. `end_blocked_jobs` must follow. Raises ProblemError
        (user_not_found, conflict for one's own)."""
        return await self._database.one(
            AdminUserDetail, "admin_suspend", user_id=user_id, suspended=suspended, **actor.because(reason)
        )

    async def end_blocked_jobs(self, user_id: UUID) -> list[UUID]:
        """Cancel what a suspended account has under way, at no cost: up to 500 jobs, which are returned."""
        return [UUID(job_id) for job_id in await self._database.run("end_blocked_jobs", user_id=user_id)]

    async def change_credits(  # noqa: PLR0913 - the SQL function's own
        self,
        user_id: UUID,
        amount: int,
        reference: str,
        actor: Actor,
        reason: str,
        *,
        expires_at: datetime | None = None,
    ) -> CreditChange:
        """Give credits, or take them where `amount` is negative; once for each `reference`. Raises ProblemError
        (user_not_found)."""
        return await self._database.one(
            CreditChange,
            "admin_credits",
            user_id=user_id,
            amount=amount,
            reference=reference,
            expires_at=expires_at,
            **actor.because(reason),
        )

    # Jobs

    async def list_jobs(  # noqa: PLR0913 - the SQL function's own
        self,
        *,
        limit: int,
        after: Place | None = None,
        status: Status | None = None,
        op: str | None = None,
        user: str | None = None,
        error: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> list[AdminJob]:
        """Newest first. `user`: an account's id or address. Raises ProblemError (user_not_found, conflict)."""
        return await self._database.many(
            AdminJob,
            "admin_jobs",
            **_page(limit, after),
            status=status,
            op=op,
            user=user,
            error=error,
            created_after=created_after,
            created_before=created_before,
        )

    async def get_job(self, job_id: UUID) -> AdminJobDetail | None:
        return await self._database.maybe(AdminJobDetail, "admin_job", job_id=job_id)

    async def replay_job(self, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
        """The new job. Raises ProblemError (job_not_found, job_finished, conflict, refused, original_missing,
        insufficient_credits, data_deletion_running)."""
        return await self._job("replay_job", job_id, actor, reason)

    async def cancel_job(self, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
        """Raises ProblemError (job_not_found, job_finished)."""
        return await self._job("admin_cancel_job", job_id, actor, reason)

    async def refund_job(self, job_id: UUID, actor: Actor, reason: str) -> bool:
        """False: it was refunded before. Raises ProblemError (job_not_found, not_charged)."""
        return bool(await self._database.run("admin_refund_job", job_id=job_id, **actor.because(reason)))

    async def _job(self, function: str, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
        return await self._database.one(AdminJob, function, job_id=job_id, **actor.because(reason))

    async def list_lanes(self, limit: int) -> Lanes:
        return await self._database.one(Lanes, "admin_lanes", limit=limit)

    async def pause_lane(self, lane_id: int, actor: Actor, reason: str, *, paused: bool) -> Lane:
        """Hold back what waits in a lane, or let it be claimed again. Raises ProblemError (lane_not_found)."""
        return await self._database.one(
            Lane, "admin_pause_lane", lane_id=lane_id, paused=paused, **actor.because(reason)
        )

    async def pause_queue(self, queue: str, actor: Actor, reason: str, *, paused: bool) -> QueuePause:
        """The same for all lanes of a queue."""
        return await self._database.one(
            QueuePause, "admin_pause_queue", queue=queue, paused=paused, **actor.because(reason)
        )

    # Refused and blocked pictures

    async def list_refused(
        self, *, limit: int, after: Place | None = None, reviewed: bool | None = None
    ) -> list[RefusedJob]:
        return await self._database.many(RefusedJob, "refused_jobs", **_page(limit, after), reviewed=reviewed)

    async def review(self, job_id: UUID, decision: Decision, actor: Actor, reason: str) -> AdminJobDetail:
        """Raises ProblemError (job_not_found, conflict)."""
        return await self._database.one(
            AdminJobDetail, "review_refused", job_id=job_id, decision=decision, **actor.because(reason)
        )

    async def list_in_review(self, *, limit: int, after: Place | None = None) -> list[PictureInReview]:
        """Newest first; without URLs."""
        return await self._database.many(PictureInReview, "pictures_in_review", **_page(limit, after))

    async def sha256_in_review(self, kind: PictureKind, picture_id: UUID) -> str:
        """What is to be blocked to refuse it. Raises ProblemError (conflict: nothing is to be decided)."""
        return str(await self._database.run("picture_in_review", kind=kind, id=picture_id))

    async def approve_picture(
        self, kind: PictureKind, picture_id: UUID, actor: Actor, reason: str
    ) -> list[Forget]:
        """What the caches must forget. Raises ProblemError (conflict)."""
        return await self._database.many(
            Forget, "approve_picture", kind=kind, id=picture_id, **actor.because(reason)
        )

    async def list_blocked(
        self,
        *,
        limit: int,
        after: Place | None = None,
        sha256: str | None = None,
        category: str | None = None,
    ) -> list[BlockedHash]:
        """Newest first; `sha256`: its beginning."""
        return await self._database.many(
            BlockedHash,
            "list_blocked",
            limit=limit,
            after=after and after[0],
            after_sha256=after and after[1],
            sha256=sha256,
            category=category,
        )

    # Care

    async def list_audit(
        self,
        *,
        limit: int,
        before: int | None = None,
        actor: str | None = None,
        subject: str | None = None,
        action: str | None = None,
    ) -> list[AuditEntry]:
        """Newest first. `actor`: an account's id or address, or `cli:<user>`; `action`: its beginning. Raises
        ProblemError (user_not_found, conflict)."""
        return await self._database.many(
            AuditEntry, "admin_audit", limit=limit, before=before, actor=actor, subject=subject, action=action
        )

    async def list_abuse(self, limit: int) -> list[AbuseSignal]:
        """Accounts with a signal, those with most first."""
        return await self._database.many(AbuseSignal, "admin_abuse", limit=limit)

    async def system_report(self, paid_priority: int) -> SystemReport:
        """`paid_priority`: of a plan that counts as paid, as for load shedding."""
        return await self._database.one(SystemReport, "system_report", paid_priority=paid_priority)


def _page(limit: int, after: Place | None) -> dict[str, Any]:
    return {"limit": limit, "after": after and after[0], "after_id": after and after[1]}

"""The SQL functions of 99_admin*.sql, one typed method each; see service/database.py, whose rules and errors hold."""

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
    PictureInReview,
    PictureKind,
    RefusedJob,
    Role,
    RoleChange,
    SystemReport,
)
from service.database import Database, Forget, text
from service.jobs.store import Status

Place = tuple[datetime, str]
"""Where a page begins: created_at and key of the row before it."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: an account over the API (`by` is 'api'), or `cli:<user of the machine>`."""

    user_id: UUID | None
    by: str

    def because(self, reason: str) -> dict[str, Any]:
        """The parameters that every act ends with."""
        return {"p_actor": text(self.user_id), "p_by": self.by, "p_reason": reason}


class Admin:
    """Typed access to what operators may do."""

    def __init__(self, database: Database) -> None:
        self._call = database.call

    # Roles

    async def role(self, user_id: UUID) -> Role | None:
        role: Role | None = await self._call("admin_role", {"p_user_id": str(user_id)})
        return role

    async def list_admins(self) -> list[AdminRow]:
        return [AdminRow.model_validate(row) for row in await self._call("list_admins", {})]

    async def grant_role(self, who: str, role: Role, by: str, reason: str) -> RoleChange:
        """`who`: an account's id or address. Raises ProblemError (user_not_found, conflict)."""
        parameters = {"p_who": who, "p_role": role, "p_by": by, "p_reason": reason}
        return RoleChange.model_validate(await self._call("grant_admin", parameters))

    async def revoke_role(self, who: str, by: str, reason: str) -> RoleChange:
        """Raises as grant_role does; `before` None: there was nothing to revoke."""
        parameters = {"p_who": who, "p_by": by, "p_reason": reason}
        return RoleChange.model_validate(await self._call("revoke_admin", parameters))

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
        rows = await self._call(
            "admin_users",
            {
                **_page(limit, after),
                "p_query": query,
                "p_plan": plan,
                "p_flagged": flagged,
                "p_suspended": suspended,
            },
        )
        return [AdminUser.model_validate(row) for row in rows]

    async def get_user(self, who: str) -> AdminUserDetail:
        """`who`: an id or an address. Raises ProblemError (user_not_found, conflict)."""
        return AdminUserDetail.model_validate(await self._call("admin_user", {"p_who": who}))

    async def set_plan(self, user_id: UUID, plan_id: str, actor: Actor, reason: str) -> AdminUserDetail:
        """Raises ProblemError (user_not_found, plan_not_found)."""
        parameters = {"p_user_id": str(user_id), "p_plan_id": plan_id, **actor.because(reason)}
        return AdminUserDetail.model_validate(await self._call("admin_set_plan", parameters))

    async def flag(self, user_id: UUID, actor: Actor, reason: str, *, flagged: bool) -> AdminUserDetail:
        """Mark an account for others to see, or take the mark away. Raises ProblemError (user_not_found)."""
        parameters = {"p_user_id": str(user_id), "p_flagged": flagged, **actor.because(reason)}
        return AdminUserDetail.model_validate(await self._call("admin_flag", parameters))

    async def suspend(self, user_id: UUID, actor: Actor, reason: str, *, suspended: bool) -> AdminUserDetail:
        """Stop an account, or let it be used again. `end_blocked_jobs` must follow. Raises ProblemError
        (user_not_found, conflict for one's own)."""
        parameters = {"p_user_id": str(user_id), "p_suspended": suspended, **actor.because(reason)}
        return AdminUserDetail.model_validate(await self._call("admin_suspend", parameters))

    async def end_blocked_jobs(self, user_id: UUID) -> list[UUID]:
        """Cancel what a suspended account has under way, at no cost: up to 500 jobs, which are returned."""
        return [UUID(job_id) for job_id in await self._call("end_blocked_jobs", {"p_user_id": str(user_id)})]

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
        parameters = {
            "p_user_id": str(user_id),
            "p_amount": amount,
            "p_reference": reference,
            "p_expires_at": expires_at and expires_at.isoformat(),
            **actor.because(reason),
        }
        return CreditChange.model_validate(await self._call("admin_credits", parameters))

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
        rows = await self._call(
            "admin_jobs",
            {
                **_page(limit, after),
                "p_status": status,
                "p_op": op,
                "p_user": user,
                "p_error": error,
                "p_created_after": created_after and created_after.isoformat(),
                "p_created_before": created_before and created_before.isoformat(),
            },
        )
        return [AdminJob.model_validate(row) for row in rows]

    async def get_job(self, job_id: UUID) -> AdminJobDetail | None:
        row = await self._call("admin_job", {"p_job_id": str(job_id)})
        return None if row is None else AdminJobDetail.model_validate(row)

    async def replay_job(self, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
        """The new job. Raises ProblemError (job_not_found, job_finished, conflict, refused, original_missing,
        insufficient_credits, data_deletion_running)."""
        return await self._job("replay_job", job_id, actor, reason)

    async def cancel_job(self, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
        """Raises ProblemError (job_not_found, job_finished)."""
        return await self._job("admin_cancel_job", job_id, actor, reason)

    async def refund_job(self, job_id: UUID, actor: Actor, reason: str) -> bool:
        """False: it was refunded before. Raises ProblemError (job_not_found, not_charged)."""
        parameters = {"p_job_id": str(job_id), **actor.because(reason)}
        return bool(await self._call("admin_refund_job", parameters))

    async def _job(self, function: str, job_id: UUID, actor: Actor, reason: str) -> AdminJob:
        return AdminJob.model_validate(
            await self._call(function, {"p_job_id": str(job_id), **actor.because(reason)})
        )

    # Refused and blocked pictures

    async def list_refused(
        self, *, limit: int, after: Place | None = None, reviewed: bool | None = None
    ) -> list[RefusedJob]:
        rows = await self._call("refused_jobs", {**_page(limit, after), "p_reviewed": reviewed})
        return [RefusedJob.model_validate(row) for row in rows]

    async def review(self, job_id: UUID, decision: Decision, actor: Actor, reason: str) -> AdminJobDetail:
        """Raises ProblemError (job_not_found, conflict)."""
        parameters = {"p_job_id": str(job_id), "p_decision": decision, **actor.because(reason)}
        return AdminJobDetail.model_validate(await self._call("review_refused", parameters))

    async def list_in_review(self, *, limit: int, after: Place | None = None) -> list[PictureInReview]:
        """Newest first; without URLs."""
        rows = await self._call("pictures_in_review", _page(limit, after))
        return [PictureInReview.model_validate(row) for row in rows]

    async def sha256_in_review(self, kind: PictureKind, picture_id: UUID) -> str:
        """What is to be blocked to refuse it. Raises ProblemError (conflict: nothing is to be decided)."""
        return str(await self._call("picture_in_review", {"p_kind": kind, "p_id": str(picture_id)}))

    async def approve_picture(
        self, kind: PictureKind, picture_id: UUID, actor: Actor, reason: str
    ) -> list[Forget]:
        """What the caches must forget. Raises ProblemError (conflict)."""
        parameters = {"p_kind": kind, "p_id": str(picture_id), **actor.because(reason)}
        return [Forget.model_validate(row) for row in await self._call("approve_picture", parameters)]

    async def list_blocked(
        self,
        *,
        limit: int,
        after: Place | None = None,
        sha256: str | None = None,
        category: str | None = None,
    ) -> list[BlockedHash]:
        """Newest first; `sha256`: its beginning."""
        rows = await self._call(
            "list_blocked",
            {
                "p_limit": limit,
                "p_after": after and after[0].isoformat(),
                "p_after_sha256": after and after[1],
                "p_sha256": sha256,
                "p_category": category,
            },
        )
        return [BlockedHash.model_validate(row) for row in rows]

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
        rows = await self._call(
            "admin_audit",
            {
                "p_limit": limit,
                "p_before": before,
                "p_actor": actor,
                "p_subject": subject,
                "p_action": action,
            },
        )
        return [AuditEntry.model_validate(row) for row in rows]

    async def list_abuse(self, limit: int) -> list[AbuseSignal]:
        """Accounts with a signal, those with most first."""
        return [
            AbuseSignal.model_validate(row) for row in await self._call("admin_abuse", {"p_limit": limit})
        ]

    async def system_report(self, paid_priority: int) -> SystemReport:
        """`paid_priority`: of a plan that counts as paid, as for load shedding."""
        return SystemReport.model_validate(
            await self._call("system_report", {"p_paid_priority": paid_priority})
        )


def _page(limit: int, after: Place | None) -> dict[str, Any]:
    return {
        "p_limit": limit,
        "p_after": after and after[0].isoformat(),
        "p_after_id": after and after[1],
    }

"""Jobs of anybody: search, look, repeat, cancel, refund."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from service.admin import actions, lists
from service.admin.access import REFUSALS, AdminUser, StaffUser
from service.admin.errors import user_not_found
from service.admin.rows import AdminJob, AdminJobDetail
from service.admin.schemas import Act, JobFilter, JobPage, RefundAnswer
from service.admin.store import Admin
from service.credits.errors import insufficient_credits, not_charged
from service.jobs.errors import job_finished, job_not_found
from service.library.errors import original_missing
from service.moderation.errors import refused
from service.platform.errors import conflict, data_deletion_running, malformed_json
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/admin/api/jobs", tags=["admin"])


@router.get("", responses=responses(*REFUSALS, user_not_found, conflict))
async def search_jobs(request: Request, _caller: StaffUser, wanted: Annotated[JobFilter, Query()]) -> JobPage:
    """Jobs of all users and visitors, newest first."""
    return await lists.jobs(platform_of(request), wanted)


@router.get("/{job_id}", responses=responses(*REFUSALS, job_not_found))
async def get_any_job(job_id: UUID, request: Request, _caller: StaffUser) -> AdminJobDetail:
    """One job with its transitions, what it cost, and whether its bytes are still there."""
    return await actions.job_detail(platform_of(request), job_id)


@router.post(
    "/{job_id}/replay",
    status_code=201,
    responses=responses(
        *REFUSALS,
        malformed_json,
        job_not_found,
        job_finished,
        conflict,
        refused,
        original_missing,
        insufficient_credits,
        data_deletion_running,
    ),
)
async def replay_job(job_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> AdminJob:
    """A new attempt at a job that failed, expired or was canceled, where its bytes are still there.

    It is a job of its own, for the same owner, and holds the price of the first one anew.
    """
    return await actions.replay(platform_of(request), job_id, actor, wanted.reason)


@router.post(
    "/{job_id}/cancel",
    responses=responses(*REFUSALS, malformed_json, job_not_found, job_finished),
)
async def cancel_any_job(job_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> AdminJob:
    """End a job that has not ended. It costs nothing, and its upload is removed."""
    return await actions.cancel(platform_of(request), job_id, actor, wanted.reason)


@router.post(
    "/{job_id}/refund",
    responses=responses(*REFUSALS, malformed_json, job_not_found, not_charged),
)
async def refund_job(job_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> RefundAnswer:
    """Give back what a job was charged, once. Its result stays."""
    refunded = await Admin(platform_of(request).database).refund_job(job_id, actor, wanted.reason)
    return RefundAnswer(refunded=refunded)

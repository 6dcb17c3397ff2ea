"""Users as operators see them: search, look, plan, credits, flag, suspend."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from service.admin import actions, lists
from service.admin.access import REFUSALS, AdminUser, StaffUser
from service.admin.errors import user_not_found
from service.admin.rows import AdminUserDetail, CreditChange
from service.admin.schemas import Act, CreditsGiven, CreditsTaken, UserFilter, UserPage, UserPlanChange
from service.admin.store import Admin
from service.plans.errors import plan_not_found
from service.platform.errors import conflict, malformed_json
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/admin/api/users", tags=["admin"])
_ONE = responses(*REFUSALS, user_not_found)
_ACT = responses(*REFUSALS, malformed_json, user_not_found)


@router.get("", responses=responses(*REFUSALS))
async def list_users(
    request: Request, _caller: StaffUser, wanted: Annotated[UserFilter, Query()]
) -> UserPage:
    """Accounts, newest first."""
    return await lists.users(platform_of(request), wanted)


@router.get("/{user_id}", responses=_ONE)
async def get_user(user_id: UUID, request: Request, _caller: StaffUser) -> AdminUserDetail:
    """One account: plan, credits and grants, last jobs, names of its keys, subscription, flag, storage."""
    return await Admin(platform_of(request).database).get_user(str(user_id))


@router.post(
    "/{user_id}/plan",
    responses=responses(*REFUSALS, malformed_json, user_not_found, plan_not_found),
)
async def set_plan(
    user_id: UUID, request: Request, actor: AdminUser, wanted: UserPlanChange
) -> AdminUserDetail:
    """Give an account another plan, at once. Nothing is deleted; a subscription is not touched."""
    return await actions.set_plan(platform_of(request), user_id, wanted.plan_id, actor, wanted.reason)


@router.post("/{user_id}/credits/give", responses=_ACT)
async def give_credits(
    user_id: UUID, request: Request, actor: AdminUser, wanted: CreditsGiven
) -> CreditChange:
    """Give credits, once for each reference. A debt is paid first."""
    return await Admin(platform_of(request).database).change_credits(
        user_id, wanted.amount, wanted.reference, actor, wanted.reason, expires_at=wanted.expires_at
    )


@router.post("/{user_id}/credits/take", responses=_ACT)
async def take_credits(
    user_id: UUID, request: Request, actor: AdminUser, wanted: CreditsTaken
) -> CreditChange:
    """Take credits back, once for each reference. The balance does not go below zero: the rest becomes a debt."""
    return await Admin(platform_of(request).database).change_credits(
        user_id, -wanted.amount, wanted.reference, actor, wanted.reason
    )


@router.post(
    "/{user_id}/suspend",
    responses=responses(*REFUSALS, malformed_json, user_not_found, conflict),
)
async def suspend_user(user_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> AdminUserDetail:
    """Stop an account at once: sessions, API keys, jobs, share links, event streams. Nothing of it is deleted."""
    return await actions.suspend(platform_of(request), user_id, actor, wanted.reason)


@router.post("/{user_id}/restore", responses=_ACT)
async def restore_user(user_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> AdminUserDetail:
    """Let a suspended account be used again. Canceled jobs stay canceled; a ban in Supabase Auth is lifted there."""
    return await actions.restore(platform_of(request), user_id, actor, wanted.reason)


@router.post("/{user_id}/flag", responses=_ACT)
async def flag_user(user_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> AdminUserDetail:
    """Mark an account for operators to look at. It works as before."""
    return await Admin(platform_of(request).database).flag(user_id, actor, wanted.reason, flagged=True)


@router.post("/{user_id}/unflag", responses=_ACT)
async def unflag_user(user_id: UUID, request: Request, actor: AdminUser, wanted: Act) -> AdminUserDetail:
    """Take the mark away."""
    return await Admin(platform_of(request).database).flag(user_id, actor, wanted.reason, flagged=False)

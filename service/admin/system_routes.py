"""The state of the system, signs of abuse, the audit log; and the page that shows it all."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from service.admin import lists
from service.admin.access import REFUSALS, StaffUser
from service.admin.errors import admin_required, user_not_found
from service.admin.schemas import (
    AbuseList,
    AuditFilter,
    AuditPage,
    InvariantReport,
    StaffMember,
    SystemPage,
)
from service.admin.store import Admin
from service.maintenance.store import Maintenance
from service.platform.errors import ProblemError, conflict
from service.platform.pages import ADMIN
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.platform.settings import Settings

MAX_ABUSE = 200
router = APIRouter(prefix="/admin/api", tags=["admin"])
page = APIRouter(include_in_schema=False)


@router.get("/me", responses=responses(*REFUSALS))
async def get_me(request: Request, user_id: StaffUser) -> StaffMember:
    """The caller's role."""
    role = await Admin(platform_of(request).database).role(user_id)
    if role is None:  # revoked between the two questions
        raise ProblemError(admin_required)
    return StaffMember(user_id=user_id, role=role)


@router.get("/system", responses=responses(*REFUSALS))
async def get_system(request: Request, _caller: StaffUser) -> SystemPage:
    """What is waiting, late or open, and whether what the service needs answers."""
    return await lists.system(platform_of(request))


@router.get("/invariants", responses=responses(*REFUSALS))
async def get_invariants(request: Request, _caller: StaffUser) -> InvariantReport:
    """Sentences about money and state that do not hold. It reads whole tables: ask seldom."""
    return InvariantReport(violations=await Maintenance(platform_of(request).database).check_invariants())


@router.get("/abuse", responses=responses(*REFUSALS))
async def list_abuse(request: Request, _caller: StaffUser) -> AbuseList:
    """Accounts that look like abuse: `refusals`, `burst`, `shared_address`. To judge them is for people."""
    return AbuseList(accounts=await Admin(platform_of(request).database).list_abuse(MAX_ABUSE))


@router.get("/audit", responses=responses(*REFUSALS, user_not_found, conflict))
async def list_audit(
    request: Request, _caller: StaffUser, wanted: Annotated[AuditFilter, Query()]
) -> AuditPage:
    """The audit log, newest first."""
    return await lists.audit(platform_of(request), wanted)


def admin_policy(settings: Settings) -> str:
    """What the page for operators may do: load its own files and pictures in review, and talk to this API and the
    Supabase project."""
    return (
        f"default-src 'none'; connect-src 'self' {settings.supabase_url}; img-src 'self' {settings.supabase_url}; "
        "script-src 'self'; "
        "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@page.get("/admin")
async def admin_page(request: Request) -> FileResponse:
    """The page for operators."""
    headers = {
        "Content-Security-Policy": admin_policy(request.app.state.settings),
        "Cache-Control": "no-cache",
    }
    return FileResponse(ADMIN / "index.html", media_type="text/html", headers=headers)

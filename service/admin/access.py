"""Who may use the admin API: accounts of the table `admins`, asked in the database for each request."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from service.access.limits import SignedIn
from service.admin.errors import admin_required
from service.admin.store import Actor, Admin
from service.platform.errors import ProblemError, sign_in_required
from service.platform.resources import platform_of

API = "api"


async def _staff(request: Request, response: Response, user_id: SignedIn) -> UUID:
    """An account with any role: may look. Raises ProblemError (sign_in_required, admin_required)."""
    if await Admin(platform_of(request).database).role(user_id) is None:
        raise ProblemError(admin_required)
    response.headers["Cache-Control"] = "no-store"
    return user_id


async def _admin(request: Request, response: Response, user_id: SignedIn) -> Actor:
    """An account that may act. Raises ProblemError (sign_in_required, admin_required)."""
    if await Admin(platform_of(request).database).role(user_id) != "admin":
        raise ProblemError(admin_required, "This is for operators of this service who may change things.")
    return Actor(user_id, API)


StaffUser = Annotated[UUID, Depends(_staff)]
AdminUser = Annotated[Actor, Depends(_admin)]
REFUSALS = (sign_in_required, admin_required)

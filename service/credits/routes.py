"""Credits: what the caller has, and how it came to that."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.access.limits import SignedIn
from service.credits.schemas import CreditBalance, CreditHistory, CreditMovement, HistoryPage
from service.credits.store import Credits
from service.platform.cursors import cursor_at, place_of, unreadable
from service.platform.errors import account_gone, sign_in_required
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/credits", tags=["billing"])
MAX_ID = 2**63


@router.get("/balance", responses=responses(sign_in_required))
async def get_balance(request: Request, user_id: SignedIn) -> CreditBalance:
    """What can be spent now, what is set aside for jobs, what is owed, and what ends when."""
    row = await Credits(platform_of(request).database).get_credits(user_id)
    if row is None:
        raise account_gone()
    return CreditBalance(**row.model_dump())


@router.get("/history", responses=responses(sign_in_required))
async def list_history(
    request: Request, user_id: SignedIn, wanted: Annotated[HistoryPage, Query()]
) -> CreditHistory:
    """Every movement of the caller's credits, newest first, each with the grants it used. Pages do not shift."""
    before = None if wanted.cursor is None else _id(wanted.cursor)
    # One more than the page holds tells whether there is another.
    rows = await Credits(platform_of(request).database).history(user_id, before, wanted.limit + 1)
    page = rows[: wanted.limit]
    return CreditHistory(
        movements=[CreditMovement(**row.model_dump()) for row in page],
        next_cursor=cursor_at(page[-1].created_at, page[-1].id) if len(rows) > wanted.limit else None,
    )


def _id(cursor: str) -> int:
    """Of the movement that a page ended with. Raises ProblemError (invalid_request)."""
    _, key = place_of(cursor)
    if not (key.isascii() and key.isdecimal() and len(key) < 20 and int(key) < MAX_ID):
        raise unreadable()
    return int(key)

"""GET /usage and GET /usage/savings."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from service.access.limits import SignedIn
from service.platform.errors import sign_in_required
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.usage.report import describe, period, savings_of, to_csv
from service.usage.schemas import Savings, Usage
from service.usage.store import UsageDays

router = APIRouter(tags=["billing"])
First = Annotated[
    date | None, Query(alias="from", description="first UTC day; by default 30 days up to `to`")
]
Last = Annotated[date | None, Query(alias="to", description="last UTC day; by default today")]
CSV = "text/csv"


@router.get(
    "/usage",
    response_model=Usage,
    responses={**responses(sign_in_required), 200: {"content": {CSV: {"schema": {"type": "string"}}}}},
)
async def usage(
    request: Request,
    user_id: SignedIn,
    first: First = None,
    last: Last = None,
    form: Annotated[
        Literal["json", "csv"] | None,
        Query(alias="format", description="csv, or `Accept: text/csv`: the days alone, a line each"),
    ] = None,
) -> Response:
    """Usage by UTC day, with averages and what has been used of the plan's quotas. At most 366 days at once."""
    begin, end = period(first, last)
    platform = platform_of(request)
    row = await UsageDays(platform.database).get_usage(user_id, begin, end)
    if form == "csv" or (form is None and request.headers.get("accept", "").startswith(CSV)):
        name = f'attachment; filename="usage-{begin}-{end}.csv"'
        return Response(to_csv(row.days), media_type=CSV, headers={"Content-Disposition": name})
    shown = describe(row, begin, end, platform.settings)
    return Response(shown.model_dump_json(by_alias=True), media_type="application/json")


@router.get("/usage/savings", responses=responses(sign_in_required))
async def savings(request: Request, user_id: SignedIn, first: First = None, last: Last = None) -> Savings:
    """What the cache saved: credits and vendor cost that hits did not cost."""
    begin, end = period(first, last)
    return savings_of(
        await UsageDays(platform_of(request).database).get_usage(user_id, begin, end), begin, end
    )

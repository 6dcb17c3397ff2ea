"""Queues and lanes: who waits for how much; to hold one back, and to let it go on."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from service.admin import actions
from service.admin.access import REFUSALS, AdminUser, StaffUser
from service.admin.errors import lane_not_found
from service.admin.rows import Lane, Lanes, QueuePause
from service.admin.schemas import Act
from service.admin.store import Admin
from service.platform.errors import malformed_json
from service.platform.problems import responses
from service.platform.resources import platform_of

MAX_LANES = 200
LaneId = Annotated[int, Path(ge=1, le=2**53 - 1)]
Queue = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]

router = APIRouter(prefix="/admin/api", tags=["admin"])


@router.get("/lanes", responses=responses(*REFUSALS))
async def list_lanes(request: Request, _caller: StaffUser) -> Lanes:
    """Lanes where something waits, runs or is paused, those with most waiting first; and queues that are paused."""
    return await Admin(platform_of(request).database).list_lanes(MAX_LANES)


@router.post("/lanes/{lane_id}/pause", responses=responses(*REFUSALS, malformed_json, lane_not_found))
async def pause_lane(lane_id: LaneId, request: Request, actor: AdminUser, wanted: Act) -> Lane:
    """Hold back what waits in a lane. What is running goes on, and new jobs are taken as before."""
    return await Admin(platform_of(request).database).pause_lane(lane_id, actor, wanted.reason, paused=True)


@router.post("/lanes/{lane_id}/resume", responses=responses(*REFUSALS, malformed_json, lane_not_found))
async def resume_lane(lane_id: LaneId, request: Request, actor: AdminUser, wanted: Act) -> Lane:
    """Let a lane be claimed from again."""
    return await actions.resume_lane(platform_of(request), lane_id, actor, wanted.reason)


@router.post("/queues/{queue}/pause", responses=responses(*REFUSALS, malformed_json))
async def pause_queue(queue: Queue, request: Request, actor: AdminUser, wanted: Act) -> QueuePause:
    """Hold back all that waits in a queue."""
    return await Admin(platform_of(request).database).pause_queue(queue, actor, wanted.reason, paused=True)


@router.post("/queues/{queue}/resume", responses=responses(*REFUSALS, malformed_json))
async def resume_queue(queue: Queue, request: Request, actor: AdminUser, wanted: Act) -> QueuePause:
    """Let a queue be claimed from again."""
    return await actions.resume_queue(platform_of(request), queue, actor, wanted.reason)

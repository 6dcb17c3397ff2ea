"""Everything under /admin."""

from fastapi import APIRouter

from service.admin import job_routes, queue_routes, safety_routes, system_routes, user_routes

router = APIRouter(
    routes=[
        *user_routes.router.routes,
        *job_routes.router.routes,
        *queue_routes.router.routes,
        *safety_routes.router.routes,
        *system_routes.router.routes,
        *system_routes.page.routes,
    ]
)

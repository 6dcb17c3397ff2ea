"""Error codes of the intake."""

from service.platform.errors import Code

too_many_jobs = Code(
    "too_many_jobs",
    429,
    "Too many unfinished jobs",
    "At most 50 unfinished jobs at once on this plan.",
    retryable=True,
    facts={"violated_policies": ["max_pending"], "limit": 50, "used": 50, "plan_required": "basic"},
)

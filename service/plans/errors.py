"""Error codes of plans, their quotas, and quotes."""

from service.platform.errors import Code

plan_required = Code(
    "plan_required",
    402,
    "The plan does not include this",
    "The library is part of a paid plan.",
    facts={"violated_policies": ["persistent"], "plan_required": "basic"},
)
quota_exceeded = Code(
    "quota_exceeded",
    429,
    "A quota of the plan is used up",
    "10 of 10 generations per day of the plan Free are used.",
    retryable=True,
    facts={
        "violated_policies": ["generations_per_day"],
        "limit": 10,
        "used": 10,
        "resets_at": "2026-11-21T00:00:00Z",
        "plan_required": "basic",
    },
)
storage_full = Code(
    "storage_full",
    402,
    "The storage of the plan is used up",
    "10000000000 of 10000000000 bytes of the plan Basic are used: the library is read-only until there is room.",
    facts={
        "violated_policies": ["storage_bytes"],
        "limit": 10000000000,
        "used": 10000000000,
        "plan_required": "pro",
    },
)
plan_not_found = Code("plan_not_found", 404, "There is no such plan", "GET /plans lists them.")
invalid_quote = Code(
    "invalid_quote", 422, "The quote is not valid here", "It was given to somebody else, or for another op."
)
quote_expired = Code("quote_expired", 410, "The quote has expired", "Ask for a new one with POST /quote.")

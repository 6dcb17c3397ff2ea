"""Error codes of API keys."""

from service.platform.errors import Code

api_key_not_found = Code("api_key_not_found", 404, "There is no such API key", "No key of yours has this id.")
too_many_api_keys = Code(
    "too_many_api_keys", 409, "Too many API keys", "At most 20 keys at once: revoke one first."
)
spend_cap_reached = Code(
    "spend_cap_reached",
    402,
    "The API key has spent its credits",
    "This costs 4 credits; the key has spent 498 of 500 this month.",
    facts={"limit": 500, "used": 498, "resets_at": "2026-12-01T00:00:00Z"},
)

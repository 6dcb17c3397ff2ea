"""What an API key may be used for: each route's scope, in one place.

A route that is not named here answers to sessions and visitors alone: what is new is closed to keys until somebody
decides otherwise. Public routes do not look at who calls.
"""

SCOPES = {
    # Ask for pictures
    "POST /quote": "intake",
    "POST /inputs": "intake",
    "GET /inputs/{digest}": "intake",
    "POST /intake": "intake",
    "POST /intake/batch": "intake",
    "POST /images/{image_id}/rerun": "intake",
    "POST /jobs/{job_id}/uploaded": "intake",
    "DELETE /jobs/{job_id}": "intake",
    # Follow them
    "GET /jobs/{job_id}": "jobs:read",
    "GET /jobs/{job_id}/events": "jobs:read",
    # Look at what is kept
    "GET /images": "library:read",
    "GET /images/{image_id}": "library:read",
    "GET /collections": "library:read",
    "GET /outputs/{output_id}": "library:read",
    "GET /outputs/{output_id}/shares": "library:read",
    # Change it
    "POST /images/bulk": "library:write",
    "POST /images/{image_id}/archive": "library:write",
    "POST /images/{image_id}/unarchive": "library:write",
    "DELETE /images/{image_id}": "library:write",
    "POST /collections": "library:write",
    "PATCH /collections/{collection_id}": "library:write",
    "DELETE /collections/{collection_id}": "library:write",
    "PUT /collections/{collection_id}/images/{image_id}": "library:write",
    "DELETE /collections/{collection_id}/images/{image_id}": "library:write",
    "PATCH /outputs/{output_id}": "library:write",
    "POST /outputs/promote": "library:write",
    "POST /outputs/{output_id}/restore": "library:write",
    "DELETE /outputs/{output_id}": "library:write",
    "POST /outputs/{output_id}/share": "library:write",
    "POST /shares/{share_id}/renew": "library:write",
    "DELETE /shares/{share_id}": "library:write",
    # Plan, credits, usage
    "GET /me": "usage:read",
    "GET /credits/balance": "usage:read",
    "GET /credits/history": "usage:read",
    "GET /usage": "usage:read",
    "GET /usage/savings": "usage:read",
}

PUBLIC = frozenset(
    {
        "GET /",
        "GET /admin",
        "GET /docs",
        "GET /openapi.json",
        "GET /config.json",
        "GET /health",
        "GET /ready",
        "GET /metrics",
        "GET /ops",
        "GET /plans",
        "GET /s/{token}",
        "HEAD /s/{token}",
        "GET /s/{token}/download",
        "GET /s/{token}/picture",
        "POST /s/{token}",
        "POST /webhooks/stripe",
    }
)


def scope_of(method: str, path: str) -> str | None:
    """The scope that a key needs for a route (by its template); None: keys are refused."""
    return SCOPES.get(f"{method} {path}")

"""Errors: one shape (RFC 9457 problem documents) and one catalogue, the only place where status codes live.

Raise `ProblemError(Code.x, "what happened and what to do")` anywhere below a route; `install()` turns it, and
every other exception, into `application/problem+json`. A failed job keeps the same object in `jobs.error`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import httpx
import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
log = structlog.get_logger()
T = TypeVar("T")


class Code(StrEnum):
    """Stable, machine-readable names; clients switch on these, never on titles."""

    # The request
    malformed_json = "malformed_json"
    invalid_request = "invalid_request"
    body_too_large = "body_too_large"
    malformed_request = "malformed_request"
    head_too_large = "head_too_large"
    request_timeout = "request_timeout"
    too_many_connections = "too_many_connections"
    bad_op_key = "bad_op_key"
    unknown_op = "unknown_op"
    bad_parameter = "bad_parameter"
    op_unavailable = "op_unavailable"
    unsupported_type = "unsupported_type"
    too_large = "too_large"
    too_many_pixels = "too_many_pixels"
    # The caller
    invalid_token = "invalid_token"  # noqa: S105 - a code, not a secret
    expired_token = "expired_token"  # noqa: S105
    sign_in_required = "sign_in_required"
    account_suspended = "account_suspended"
    # An API key
    invalid_api_key = "invalid_api_key"
    api_key_revoked = "api_key_revoked"
    api_key_expired = "api_key_expired"
    insufficient_scope = "insufficient_scope"
    session_required = "session_required"
    api_access_required = "api_access_required"
    api_key_not_found = "api_key_not_found"
    too_many_api_keys = "too_many_api_keys"
    spend_cap_reached = "spend_cap_reached"
    # What the caller may do
    forbidden = "forbidden"
    refused = "refused"
    insufficient_credits = "insufficient_credits"
    plan_required = "plan_required"
    quota_exceeded = "quota_exceeded"
    storage_full = "storage_full"
    plan_not_found = "plan_not_found"
    invalid_quote = "invalid_quote"
    quote_expired = "quote_expired"
    no_credit_account = "no_credit_account"
    invalid_grant = "invalid_grant"
    too_many_jobs = "too_many_jobs"
    rate_limited = "rate_limited"
    too_many_streams = "too_many_streams"
    # The resource
    not_found = "not_found"
    job_not_found = "job_not_found"
    image_not_found = "image_not_found"
    output_expired = "output_expired"
    output_not_found = "output_not_found"
    original_missing = "original_missing"
    input_not_found = "input_not_found"
    not_in_library = "not_in_library"
    method_not_allowed = "method_not_allowed"
    conflict = "conflict"
    job_finished = "job_finished"
    upload_missing = "upload_missing"
    request_not_found = "request_not_found"
    data_deletion_running = "data_deletion_running"
    # Collections
    collection_not_found = "collection_not_found"
    collection_exists = "collection_exists"
    collection_too_deep = "collection_too_deep"
    too_many_collections = "too_many_collections"
    # A team
    team_not_found = "team_not_found"
    role_required = "role_required"
    team_owner = "team_owner"
    team_suspended = "team_suspended"
    too_many_teams = "too_many_teams"
    member_not_found = "member_not_found"
    already_member = "already_member"
    no_seats = "no_seats"
    invitation_not_found = "invitation_not_found"
    invitation_accepted = "invitation_accepted"
    invitation_declined = "invitation_declined"
    invitation_revoked = "invitation_revoked"
    invitation_expired = "invitation_expired"
    # A share link
    share_not_found = "share_not_found"
    share_expired = "share_expired"
    share_revoked = "share_revoked"
    share_used_up = "share_used_up"
    range_not_satisfiable = "range_not_satisfiable"
    too_many_shares = "too_many_shares"
    in_review = "in_review"
    password_required = "password_required"  # noqa: S105
    wrong_password = "wrong_password"  # noqa: S105
    share_locked = "share_locked"
    # Billing
    billing_disabled = "billing_disabled"
    pack_not_found = "pack_not_found"
    not_for_sale = "not_for_sale"
    already_subscribed = "already_subscribed"
    no_subscription = "no_subscription"
    payment_failed = "payment_failed"
    return_url_refused = "return_url_refused"
    webhook_disabled = "webhook_disabled"
    bad_signature = "bad_signature"
    stale_signature = "stale_signature"
    # For operators
    not_charged = "not_charged"
    admin_required = "admin_required"
    user_not_found = "user_not_found"
    hash_not_blocked = "hash_not_blocked"
    # Us
    dependency_unavailable = "dependency_unavailable"
    database_read_only = "database_read_only"
    overloaded = "overloaded"
    internal = "internal"
    # How a job fails
    sha256_mismatch = "sha256_mismatch"
    size_mismatch = "size_mismatch"
    dimensions_mismatch = "dimensions_mismatch"
    infected = "infected"
    corrupt_image = "corrupt_image"
    op_failed = "op_failed"
    pixel_timeout = "pixel_timeout"
    pixel_memory = "pixel_memory"
    pixel_crash = "pixel_crash"


class Entry(NamedTuple):
    """A line of the catalogue. `retryable`: the same request may succeed later with nothing changed; `facts`: further
    fields of the example."""

    status: int
    title: str
    retryable: bool
    example: str
    facts: Mapping[str, Any] | None = None


_BYTES = "The file is not what was announced; hash and describe the exact bytes that are uploaded."

CATALOGUE: Mapping[Code, Entry] = {
    Code.malformed_json: Entry(400, "The body is not JSON", False, "Expected an object at line 1 column 2."),
    Code.invalid_request: Entry(
        422, "The request is not valid", False, "sha256: String should match 64 hex digits."
    ),
    Code.body_too_large: Entry(
        413,
        "The request body is too large",
        False,
        "A JSON body may hold at most 65536 bytes; pictures go to upload_url.",
    ),
    Code.malformed_request: Entry(400, "This is not HTTP", False, "The request is not valid HTTP/1.1."),
    Code.head_too_large: Entry(
        431, "The request's headers are too large", False, "A request may hold 32768 bytes and 100 headers."
    ),
    Code.request_timeout: Entry(
        408, "The request took too long to arrive", True, "The request was not complete in time."
    ),
    Code.too_many_connections: Entry(
        503, "Too many connections", True, "Too many connections are open; try again shortly."
    ),
    Code.bad_op_key: Entry(
        422, "The op key cannot be read", False, "'resize' has no version: write it as resize-v1:width-800."
    ),
    Code.unknown_op: Entry(
        422, "There is no such op", False, "No op is named 'sharpn-v1'; GET /ops lists them."
    ),
    Code.bad_parameter: Entry(
        422,
        "A parameter of the op is not valid",
        False,
        "resize-v1: width should be at most 6000, not 90000.",
    ),
    Code.op_unavailable: Entry(
        501,
        "This deployment cannot do this op",
        False,
        "This deployment has no weights for u2netp: GET /ops tells which ops it can do.",
    ),
    Code.unsupported_type: Entry(
        415,
        "This type of file is not supported",
        False,
        "A packed drawing is not accepted: unpack it and send the .svg inside.",
    ),
    Code.too_large: Entry(
        413, "The picture has too many bytes", False, "60000000 bytes; at most 52428800 are accepted."
    ),
    Code.too_many_pixels: Entry(
        413, "The picture has too many pixels", False, "9000 x 4000; at most 8192 px a side."
    ),
    Code.invalid_token: Entry(
        401, "The access token is not valid", False, "The token was issued for another project."
    ),
    Code.expired_token: Entry(
        401, "The access token has expired", False, "Refresh the session and send the new token."
    ),
    Code.sign_in_required: Entry(
        401, "This needs an account", False, "Sign in and send the session's access token."
    ),
    Code.account_suspended: Entry(
        403,
        "The account is suspended",
        False,
        "This account is suspended. Write to whoever runs this service; what the account holds is kept.",
    ),
    Code.invalid_api_key: Entry(
        401,
        "The API key is not valid",
        False,
        "No key is written like this one: check that all of it was copied.",
    ),
    Code.api_key_revoked: Entry(401, "The API key was revoked", False, "Its owner has taken it back."),
    Code.api_key_expired: Entry(
        401, "The API key has expired", False, "It was valid until 2026-11-20T12:00:00Z: make or rotate one."
    ),
    Code.insufficient_scope: Entry(
        403, "The API key may not do this", False, "This needs the scope library:write."
    ),
    Code.session_required: Entry(
        403,
        "API keys cannot be used here",
        False,
        "This is for signed-in people: send a session's access token.",
    ),
    Code.api_access_required: Entry(
        403,
        "The plan has no API access",
        False,
        "The plan Free has no API access: GET /plans tells which have.",
        {"violated_policies": ["api_access"], "plan_required": "pro"},
    ),
    Code.api_key_not_found: Entry(404, "There is no such API key", False, "No key of yours has this id."),
    Code.too_many_api_keys: Entry(
        409, "Too many API keys", False, "At most 20 keys at once: revoke one first."
    ),
    Code.spend_cap_reached: Entry(
        402,
        "The API key has spent its credits",
        False,
        "This costs 4 credits; the key has spent 498 of 500 this month.",
        {"limit": 500, "used": 498, "resets_at": "2026-12-01T00:00:00Z"},
    ),
    Code.forbidden: Entry(403, "This is not allowed", False, "Sign in to keep originals."),
    Code.refused: Entry(403, "This picture is not accepted", False, "This picture is not accepted here."),
    Code.insufficient_credits: Entry(
        402,
        "Not enough credits",
        False,
        "This needs 4 credits and the balance is 1.",
        {"price": 4, "balance": 1},
    ),
    Code.no_credit_account: Entry(404, "There is no such account", False, "This user has no credit account."),
    Code.invalid_grant: Entry(
        422, "These credits cannot be given or taken", False, "A grant of an admin has a reason."
    ),
    Code.too_many_jobs: Entry(
        429,
        "Too many unfinished jobs",
        True,
        "At most 50 unfinished jobs at once on this plan.",
        {"violated_policies": ["max_pending"], "limit": 50, "used": 50, "plan_required": "basic"},
    ),
    Code.rate_limited: Entry(429, "Too many requests", True, "Try again in 12 seconds."),
    Code.too_many_streams: Entry(
        429,
        "Too many event streams",
        True,
        "20 event streams are open for this address: close one, or poll the job.",
    ),
    Code.not_found: Entry(404, "There is nothing here", False, "No route matches this path."),
    Code.job_not_found: Entry(
        404, "There is no such job", False, "No job of yours has this id; it may have expired."
    ),
    Code.image_not_found: Entry(404, "There is no such image", False, "No image of yours has this id."),
    Code.output_not_found: Entry(404, "There is no such output", False, "No output of yours has this id."),
    Code.plan_required: Entry(
        402,
        "The plan does not include this",
        False,
        "The library is part of a paid plan.",
        {"violated_policies": ["persistent"], "plan_required": "basic"},
    ),
    Code.quota_exceeded: Entry(
        429,
        "A quota of the plan is used up",
        True,
        "10 of 10 generations per day of the plan Free are used.",
        {
            "violated_policies": ["generations_per_day"],
            "limit": 10,
            "used": 10,
            "resets_at": "2026-11-21T00:00:00Z",
            "plan_required": "basic",
        },
    ),
    Code.storage_full: Entry(
        402,
        "The storage of the plan is used up",
        False,
        "10000000000 of 10000000000 bytes of the plan Basic are used: the library is read-only until there is room.",
        {
            "violated_policies": ["storage_bytes"],
            "limit": 10_000_000_000,
            "used": 10_000_000_000,
            "plan_required": "pro",
        },
    ),
    Code.plan_not_found: Entry(404, "There is no such plan", False, "GET /plans lists them."),
    Code.invalid_quote: Entry(
        422, "The quote is not valid here", False, "It was given to somebody else, or for another op."
    ),
    Code.quote_expired: Entry(410, "The quote has expired", False, "Ask for a new one with POST /quote."),
    Code.original_missing: Entry(
        410, "The original is no longer here", False, "It was not kept: send it again with POST /intake."
    ),
    Code.input_not_found: Entry(
        404,
        "The input document is not here",
        False,
        "It was not used for long: send it again by POST /inputs.",
    ),
    Code.not_in_library: Entry(
        409, "The output is not in the library", False, "Promote it first with POST /outputs/promote."
    ),
    Code.output_expired: Entry(410, "The picture is no longer kept", False, "It was removed; make it again."),
    Code.method_not_allowed: Entry(405, "The method is not allowed", False, "Use POST."),
    Code.conflict: Entry(409, "The state has changed meanwhile", False, "The job is running already."),
    Code.job_finished: Entry(409, "The job has ended", False, "The job is done and cannot be canceled."),
    Code.upload_missing: Entry(
        409,
        "The upload has not arrived",
        True,
        "Nothing was uploaded to upload_path yet: PUT the file first.",
    ),
    Code.collection_not_found: Entry(
        404, "There is no such collection", False, "No collection of yours has this id."
    ),
    Code.collection_exists: Entry(
        409, "There is a collection of this name", False, "Another one in the same place is called so."
    ),
    Code.collection_too_deep: Entry(
        409, "Collections nest one level", False, "A collection that lies in another holds none itself."
    ),
    Code.too_many_collections: Entry(
        409, "Too many collections", False, "At most 500 collections are kept: delete one first."
    ),
    Code.team_not_found: Entry(404, "There is no such team", False, "No team of yours has this id."),
    Code.role_required: Entry(
        403,
        "Your role in the team does not include this",
        False,
        "Viewers of a team look and download: its owner can make you an editor.",
    ),
    Code.team_owner: Entry(
        409,
        "This is the owner of the team",
        False,
        "The owner cannot leave: make another member the owner, or delete the team.",
    ),
    Code.team_suspended: Entry(
        403,
        "The team's owner is suspended",
        False,
        "The account of this team's owner is suspended: the team can be read, and not changed.",
    ),
    Code.too_many_teams: Entry(409, "Too many teams", False, "One account owns at most 20 teams."),
    Code.member_not_found: Entry(404, "There is no such member", False, "Nobody of this id is in the team."),
    Code.already_member: Entry(
        409, "They are in the team already", False, "A member of this team has this address."
    ),
    Code.no_seats: Entry(
        409, "No seat is left in the team", False, "This plan gives a team 5 seats, and all are taken."
    ),
    Code.invitation_not_found: Entry(
        404, "There is no such invitation", False, "No invitation to you has this id."
    ),
    Code.invitation_accepted: Entry(
        410, "The invitation was accepted", False, "It has been used, and you have left the team since."
    ),
    Code.invitation_declined: Entry(410, "The invitation was declined", False, "Ask for a new one."),
    Code.invitation_revoked: Entry(
        410, "The invitation was revoked", False, "The owner of the team has taken it back."
    ),
    Code.invitation_expired: Entry(410, "The invitation has expired", False, "Ask for a new one."),
    Code.share_not_found: Entry(404, "There is no such link", False, "No picture is shared under this link."),
    Code.share_expired: Entry(410, "The link has expired", False, "Ask whoever shared it for a new one."),
    Code.share_revoked: Entry(410, "The link was revoked", False, "Its owner has taken it back."),
    Code.range_not_satisfiable: Entry(
        416, "The range is not in the picture", False, "The picture has 51234 bytes."
    ),
    Code.share_used_up: Entry(
        410, "The link is used up", False, "It was opened as often as its owner allowed."
    ),
    Code.in_review: Entry(
        409,
        "The picture is in review",
        False,
        "An operator has yet to approve this picture: until then it cannot be shared or moved to a team.",
    ),
    Code.too_many_shares: Entry(
        409, "Too many links", False, "This picture has 100 links already; revoke one first."
    ),
    Code.password_required: Entry(
        401, "This link needs a password", False, "Post the form field `password` to this address."
    ),
    Code.wrong_password: Entry(403, "The password is wrong", False, "Check it and try again."),
    Code.share_locked: Entry(
        429,
        "Too many wrong passwords",
        True,
        "This link takes passwords again in 36 min; whoever sent it can send a new one.",
    ),
    Code.request_not_found: Entry(
        404, "There is no such request", False, "No request of yours has this id; it may have expired."
    ),
    Code.data_deletion_running: Entry(
        409,
        "All data of this account is being deleted",
        True,
        "Nothing new can be made until that has ended; GET /me/data/{request_id} tells how far it is.",
    ),
    Code.billing_disabled: Entry(
        404,
        "Nothing is sold here",
        False,
        "This deployment has no payment provider: STRIPE_SECRET_KEY is unset.",
    ),
    Code.pack_not_found: Entry(404, "There is no such pack", False, "GET /billing/packs lists them."),
    Code.not_for_sale: Entry(
        409, "This cannot be bought", False, "The plan enterprise has no price: ask for an offer."
    ),
    Code.already_subscribed: Entry(
        409, "There is a subscription already", False, "Change it with POST /billing/change."
    ),
    Code.no_subscription: Entry(
        409, "There is no subscription", False, "Subscribe with POST /billing/checkout first."
    ),
    Code.payment_failed: Entry(
        402,
        "The payment failed",
        True,
        "The card was declined, and nothing has changed; POST /billing/portal leads to another card.",
    ),
    Code.return_url_refused: Entry(
        422,
        "This address may not be returned to",
        False,
        "Its origin is not among DARKROOM_BILLING_RETURN_ORIGINS.",
    ),
    Code.webhook_disabled: Entry(
        404, "The webhook is closed", False, "STRIPE_WEBHOOK_SECRET is unset: no event can be verified."
    ),
    Code.bad_signature: Entry(
        400, "The signature is not valid", False, "Stripe-Signature is missing, or is not of this body."
    ),
    Code.stale_signature: Entry(
        400, "The signature is too old", False, "It was made more than 300 seconds ago."
    ),
    Code.not_charged: Entry(409, "This job has cost nothing", False, "There is nothing to give back."),
    Code.admin_required: Entry(403, "This is for operators", False, "This is for operators of this service."),
    Code.user_not_found: Entry(404, "There is no such account", False, "No account has this id or address."),
    Code.hash_not_blocked: Entry(
        404, "This hash is not blocked", False, "GET /admin/api/blocked lists them."
    ),
    Code.dependency_unavailable: Entry(
        503, "A service that Darkroom needs is away", True, "The database does not answer; try again shortly."
    ),
    Code.database_read_only: Entry(
        503,
        "The database takes no changes at the moment",
        True,
        "What is there can still be read; nothing can be made or changed until the database can be written again.",
    ),
    Code.overloaded: Entry(
        503,
        "Too much work is waiting",
        True,
        "800 jobs wait, about 120 s: try again in 20 s.",
        {"estimated_wait_s": 120},
    ),
    Code.internal: Entry(
        500, "Something went wrong here", True, "The error is logged under this request_id."
    ),
    Code.sha256_mismatch: Entry(422, "The content differs from its sha256", False, _BYTES),
    Code.size_mismatch: Entry(422, "The content differs from its size", False, _BYTES),
    Code.dimensions_mismatch: Entry(422, "The picture differs from its dimensions", False, _BYTES),
    Code.infected: Entry(
        422,
        "The file carries malware",
        False,
        "The virus scanner found Win.Test.EICAR_HDB-1 in this file.",
    ),
    Code.corrupt_image: Entry(
        422, "The picture cannot be decoded", False, "The JPEG data ends in the middle of the picture."
    ),
    Code.op_failed: Entry(
        422, "The op could not be done on this picture", False, "The crop lies outside the picture."
    ),
    Code.pixel_timeout: Entry(422, "The op took too long", False, "Stopped after 60 seconds."),
    Code.pixel_memory: Entry(
        422, "The op needed too much memory", False, "Stopped at 2048 MiB; use a smaller picture."
    ),
    Code.pixel_crash: Entry(
        422, "The op crashed on this picture", False, "The decoder ended abruptly; only this job failed."
    ),
}

# Any route may answer with these; `responses()` adds them so that OpenAPI tells the whole truth.
COMMON = (
    Code.invalid_request,
    Code.invalid_token,
    Code.expired_token,
    Code.account_suspended,
    Code.invalid_api_key,
    Code.api_key_revoked,
    Code.api_key_expired,
    Code.insufficient_scope,
    Code.session_required,
    Code.api_access_required,
    Code.rate_limited,
    Code.dependency_unavailable,
    Code.database_read_only,
    Code.internal,
)

_BY_STATUS = {
    404: Code.not_found,
    405: Code.method_not_allowed,
    400: Code.malformed_json,
    413: Code.body_too_large,
    403: Code.forbidden,
    401: Code.invalid_token,
}


class ProblemItem(BaseModel):
    """One fault of an invalid request."""

    loc: list[str | int] = Field(description="path of the faulty value", examples=[["body", "sha256"]])
    msg: str = Field(description="what is wrong with it")
    type: str = Field(description="kind of fault, as pydantic names it")


class Problem(BaseModel):
    """An RFC 9457 problem document: the body of every error, and of `error` in a failed job."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(
        description="URI that identifies the kind of problem", examples=["urn:darkroom:problem:rate_limited"]
    )
    title: str = Field(description="what kind of problem it is; the same for every occurrence")
    status: int = Field(description="HTTP status", ge=400, le=599)
    detail: str = Field(description="what happened this time, and what to do")
    code: Code = Field(description="stable machine-readable name")
    retryable: bool = Field(description="the same request may succeed later")
    charged: int = Field(default=0, ge=0, description="credits that this cost; a failure costs none")
    request_id: str | None = Field(default=None, description="quote it when asking for help")
    category: str | None = Field(default=None, description="why a picture is not accepted, for `refused`")
    errors: list[ProblemItem] | None = Field(
        default=None, description="each fault, at most 20, for an invalid request"
    )
    limit: int | None = Field(default=None, description="what may be used, where a quota or a cap refuses")
    used: int | None = Field(default=None, description="what is used of `limit`")
    resets_at: datetime | None = Field(default=None, description="when `used` begins at zero again")
    violated_policies: list[str] | None = Field(
        default=None,
        description="all limits of the plan that this would exceed; `limit` and `used` are of the first",
    )
    plan_required: str | None = Field(
        default=None, description="id of the cheapest plan that would allow it; absent when none does"
    )
    price: int | None = Field(
        default=None, description="credits that this would cost, where they are lacking"
    )
    balance: int | None = Field(default=None, description="credits that can be spent, less than `price`")
    estimated_wait_s: int | None = Field(
        default=None, description="seconds until a job asked for now would begin, for `overloaded`"
    )


class ProblemError(Exception):
    """A refusal that the caller shall see. `headers` go out with the response, `facts` are further fields of the
    problem by name (`limit`, `used`, …)."""

    def __init__(  # noqa: PLR0913
        self,
        code: Code,
        detail: str,
        *,
        errors: Sequence[ProblemItem] | None = None,
        headers: Mapping[str, str] | None = None,
        retryable: bool | None = None,
        category: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = list(errors) if errors else None
        self.headers = dict(headers or {})
        self.retryable = retryable
        self.category = category
        self.facts = dict(facts or {})

    def problem(self, request_id: str | None = None) -> Problem:
        return problem(
            self.code,
            self.detail,
            errors=self.errors,
            request_id=request_id,
            retryable=self.retryable,
            category=self.category,
            facts=self.facts,
        )


class DependencyError(ProblemError):
    """A dependency (redis, database, storage or auth) does not answer. Safe to try again later."""

    def __init__(self, dependency: str) -> None:
        super().__init__(
            Code.dependency_unavailable,
            f"The {dependency} does not answer; try again shortly.",
            headers={"Retry-After": "2"},
        )
        self.dependency = dependency


class DatabaseReadOnlyError(DependencyError):
    """The database answers and refuses writes: its disk is full, or somebody has made it read-only. Reads go on."""

    def __init__(self) -> None:
        ProblemError.__init__(
            self,
            Code.database_read_only,
            "What is there can still be read; nothing can be made or changed until the database can be written"
            " again.",
            headers={"Retry-After": "30"},
        )
        self.dependency = "database"


def problem(  # noqa: PLR0913
    code: Code | str,
    detail: str,
    *,
    errors: list[ProblemItem] | None = None,
    request_id: str | None = None,
    retryable: bool | None = None,
    category: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Problem:
    """Complete a code and a detail from the catalogue; an unknown code (an older row) counts as internal."""
    try:
        known = Code(code)
    except ValueError:
        known = Code.internal
    entry = CATALOGUE[known]
    return Problem(
        type=f"urn:darkroom:problem:{known}",
        title=entry.title,
        status=entry.status,
        detail=detail,
        code=known,
        retryable=entry.retryable if retryable is None else retryable,
        request_id=request_id,
        category=category,
        errors=errors,
        **(facts or {}),
    )


def problem_response(document: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP form of a problem."""
    body = orjson.dumps(document.model_dump(mode="json", exclude_none=True))
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if document.status == 401:
        sent.setdefault(
            "WWW-Authenticate", f'Bearer error="invalid_token", error_description="{document.title}"'
        )
    return Response(body, status_code=document.status, media_type=MEDIA_TYPE, headers=sent)


def validated(adapter: TypeAdapter[T], body: bytes) -> T:
    """Parse a raw JSON body in one pass (the quick way of hot routes). Raises ProblemError."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise _invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "body"
        ) from None


_MOST_FAULTS = 20  # told of a body: its answer is not to be many times as large


def _invalid(faults: Sequence[Any], prefix: str | None = None) -> ProblemError:
    """Faults of pydantic as a problem. The faulty input is left out: it may be a secret."""
    items = [
        ProblemItem(
            loc=([prefix] if prefix else []) + list(fault["loc"]),
            msg=fault["msg"].removeprefix("Value error, "),
            type=fault["type"],
        )
        for fault in faults[:_MOST_FAULTS]
    ]
    first = items[0]
    if first.type == "json_invalid":
        return ProblemError(Code.malformed_json, first.msg)
    where = ".".join(str(part) for part in first.loc if part != "body")
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ProblemError(
        Code.invalid_request, f"{where}: {first.msg}{more}" if where else first.msg, errors=items
    )


def responses(*codes: Code, common: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: every code it can answer with, by status, each with an example."""
    grouped: dict[int | str, dict[str, Any]] = {}
    for code in dict.fromkeys((*codes, *(COMMON if common else ()))):
        entry = CATALOGUE[code]
        response = grouped.setdefault(
            entry.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        names = [*filter(None, response["description"].split(", ")), f"`{code}`"]
        response["description"] = ", ".join(names)
        example = problem(code, entry.example, request_id="req_01J8Z3V6Q2", facts=entry.facts)
        response["content"][MEDIA_TYPE]["examples"][str(code)] = {
            "summary": entry.title,
            "value": example.model_dump(mode="json", exclude_none=True),
        }
    return grouped


def _request_id(request: Request) -> str | None:
    value = request.scope.get("darkroom.request_id")
    return value if isinstance(value, str) else None


def _answer(request: Request, error: ProblemError) -> Response:
    # A request that was counted hears what is left to it, whatever refused it afterwards.
    admission = request.scope.get("darkroom.admission")
    told = {} if admission is None else admission.headers()
    return problem_response(error.problem(_request_id(request)), told | error.headers)


async def _on_problem(request: Request, error: ProblemError) -> Response:
    return _answer(request, error)


async def _on_validation(request: Request, error: RequestValidationError) -> Response:
    return _answer(request, _invalid(error.errors()))


async def _on_http(request: Request, error: HTTPException) -> Response:
    """Errors of the framework: unknown path, wrong method, unreadable body."""
    code = _BY_STATUS.get(
        error.status_code, Code.internal if error.status_code >= 500 else Code.invalid_request
    )
    detail, headers = error.detail, error.headers
    if code is Code.not_found:
        detail = f"No route matches {request.method} {request.scope['path']}."
    elif code is Code.method_not_allowed:
        detail = f"{request.scope['path']} does not answer {request.method}."
        headers = {"Allow": ", ".join(_allowed(request))}
    return _answer(request, ProblemError(code, detail, headers=headers))


def _allowed(request: Request) -> list[str]:
    """Every method that this path answers; the router itself tells those of the first route only."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


async def _on_disconnect(request: Request, _error: ClientDisconnect) -> Response:
    """The caller left, or was cut off, before the body was complete: nobody reads this, and it is no bug."""
    return _answer(request, ProblemError(Code.request_timeout, CATALOGUE[Code.request_timeout].example))


async def _on_dependency(request: Request, error: Exception) -> Response:
    """A transport error that no module put into its own words: the dependency is away."""
    dependency = "cache" if isinstance(error, RedisError) else "database"
    log.warning("dependency_unavailable", dependency=dependency, error=type(error).__name__)
    return _answer(request, DependencyError(dependency))


def unhandled(request_id: str | None) -> Response:
    """What a caller sees of a bug: nothing of its cause."""
    detail = "The error is logged under this request_id." if request_id else "The error is logged."
    return problem_response(problem(Code.internal, detail, request_id=request_id))


def install(app: FastAPI) -> None:
    """Register the handlers. The telemetry middleware answers and logs what nobody handles."""
    # Starlette types a handler as one of any exception; each of these is called for its own class alone.
    app.add_exception_handler(ProblemError, _on_problem)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _on_http)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _on_disconnect)  # type: ignore[arg-type]
    app.add_exception_handler(httpx.TransportError, _on_dependency)
    app.add_exception_handler(RedisError, _on_dependency)

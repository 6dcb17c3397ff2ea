"""Errors: what a code is, the codes that several contexts use, and the one shape of every refusal (RFC 9457).

Each context declares its codes in its own errors.py, one declaration a code; service/error_codes.py knows them all.
Raise `ProblemError(code, "what happened and what to do")` anywhere below a route; platform/problems.py turns it, and
every other exception, into `application/problem+json`. A failed job keeps the same object in `jobs.error`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class Code(str):
    """Stable, machine-readable names; clients switch on these, never on titles."""

    # `summary`: the title of its problems; `detail`: what it says where nothing more is known, and in the
    # documentation; `retryable`: the same request may succeed later with nothing changed; `facts`: further fields of
    # the documentation's example.
    __slots__ = ("detail", "facts", "retryable", "status", "summary")
    status: int
    summary: str
    detail: str
    retryable: bool
    facts: Mapping[str, Any]

    def __new__(  # noqa: PLR0913
        cls,
        name: str,
        status: int,
        summary: str,
        detail: str,
        *,
        retryable: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> Self:
        if name in CODES:
            raise ValueError(f"{name} is declared twice")
        code = super().__new__(cls, name)
        code.status, code.summary, code.detail = status, summary, detail
        code.retryable, code.facts = retryable, facts or {}
        CODES[name] = code
        return code

    def __reduce__(self) -> tuple[Any, ...]:
        return known, (str(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            known, serialization=core_schema.to_string_ser_schema(), ref="service.platform.errors.Code"
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"description": cls.__doc__, "enum": sorted(CODES), "title": "Code", "type": "string"}


CODES: dict[str, Code] = {}
"""What has been declared so far, by name: all codes there are, once service/error_codes.py is imported."""


def known(name: str) -> Code:
    """The code of this name. Raises ValueError."""
    code = CODES.get(name)
    if code is None:
        raise ValueError(f"no error has the code {name!r}")
    return code


# The request

malformed_json = Code("malformed_json", 400, "The body is not JSON", "Expected an object at line 1 column 2.")
invalid_request = Code(
    "invalid_request", 422, "The request is not valid", "sha256: String should match 64 hex digits."
)
body_too_large = Code(
    "body_too_large",
    413,
    "The request body is too large",
    "A JSON body may hold at most 65536 bytes; pictures go to upload_url.",
)
malformed_request = Code("malformed_request", 400, "This is not HTTP", "The request is not valid HTTP/1.1.")
head_too_large = Code(
    "head_too_large",
    431,
    "The request's headers are too large",
    "A request may hold 32768 bytes and 100 headers.",
)
request_timeout = Code(
    "request_timeout",
    408,
    "The request took too long to arrive",
    "The request was not complete in time.",
    retryable=True,
)
too_many_connections = Code(
    "too_many_connections",
    503,
    "Too many connections",
    "Too many connections are open; try again shortly.",
    retryable=True,
)
not_found = Code("not_found", 404, "There is nothing here", "No route matches this path.")
method_not_allowed = Code("method_not_allowed", 405, "The method is not allowed", "Use POST.")

# The caller. An account, a session or an API key

invalid_token = Code(
    "invalid_token", 401, "The access token is not valid", "The token was issued for another project."
)
expired_token = Code(
    "expired_token", 401, "The access token has expired", "Refresh the session and send the new token."
)
sign_in_required = Code(
    "sign_in_required", 401, "This needs an account", "Sign in and send the session's access token."
)
account_suspended = Code(
    "account_suspended",
    403,
    "The account is suspended",
    "This account is suspended. Write to whoever runs this service; what the account holds is kept.",
)
data_deletion_running = Code(
    "data_deletion_running",
    409,
    "All data of this account is being deleted",
    "Nothing new can be made until that has ended; GET /me/data/{request_id} tells how far it is.",
    retryable=True,
)
invalid_api_key = Code(
    "invalid_api_key",
    401,
    "The API key is not valid",
    "No key is written like this one: check that all of it was copied.",
)
api_key_revoked = Code("api_key_revoked", 401, "The API key was revoked", "Its owner has taken it back.")
api_key_expired = Code(
    "api_key_expired",
    401,
    "The API key has expired",
    "It was valid until 2026-11-20T12:00:00Z: make or rotate one.",
)
insufficient_scope = Code(
    "insufficient_scope", 403, "The API key may not do this", "This needs the scope library:write."
)
session_required = Code(
    "session_required",
    403,
    "API keys cannot be used here",
    "This is for signed-in people: send a session's access token.",
)
api_access_required = Code(
    "api_access_required",
    403,
    "The plan has no API access",
    "The plan Free has no API access: GET /plans tells which have.",
    facts={"violated_policies": ["api_access"], "plan_required": "pro"},
)

# The op and the picture, as they are announced

bad_op_key = Code(
    "bad_op_key",
    422,
    "The op key cannot be read",
    "'resize' has no version: write it as resize-v1:width-800.",
)
unknown_op = Code(
    "unknown_op", 422, "There is no such op", "No op is named 'sharpn-v1'; GET /ops lists them."
)
bad_parameter = Code(
    "bad_parameter",
    422,
    "A parameter of the op is not valid",
    "resize-v1: width should be at most 6000, not 90000.",
)
op_unavailable = Code(
    "op_unavailable",
    501,
    "This deployment cannot do this op",
    "This deployment has no weights for u2netp: GET /ops tells which ops it can do.",
)
unsupported_type = Code(
    "unsupported_type",
    415,
    "This type of file is not supported",
    "A packed drawing is not accepted: unpack it and send the .svg inside.",
)
too_large = Code(
    "too_large", 413, "The picture has too many bytes", "60000000 bytes; at most 52428800 are accepted."
)
too_many_pixels = Code(
    "too_many_pixels", 413, "The picture has too many pixels", "9000 x 4000; at most 8192 px a side."
)

# What several contexts refuse with

forbidden = Code("forbidden", 403, "This is not allowed", "Sign in to keep originals.")
conflict = Code("conflict", 409, "The state has changed meanwhile", "The job is running already.")
rate_limited = Code("rate_limited", 429, "Too many requests", "Try again in 12 seconds.", retryable=True)
overloaded = Code(
    "overloaded",
    503,
    "Too much work is waiting",
    "800 jobs wait, about 120 s: try again in 20 s.",
    retryable=True,
    facts={"estimated_wait_s": 120},
)

# Idempotency-Key

invalid_idempotency_key = Code(
    "invalid_idempotency_key",
    400,
    "The Idempotency-Key is not valid",
    "Send one Idempotency-Key of 1 to 255 visible ASCII characters, a UUID, say.",
)
idempotency_key_reused = Code(
    "idempotency_key_reused",
    422,
    "The Idempotency-Key belongs to another request",
    "This key was sent with another body or to another route within 24 hours: use a new key for a new request.",
)
idempotency_in_progress = Code(
    "idempotency_in_progress",
    409,
    "The first call with this Idempotency-Key is under way",
    "Repeat this one after Retry-After seconds to get its answer.",
    retryable=True,
)

# Us

dependency_unavailable = Code(
    "dependency_unavailable",
    503,
    "A service that Darkroom needs is away",
    "The database does not answer; try again shortly.",
    retryable=True,
)
database_read_only = Code(
    "database_read_only",
    503,
    "The database takes no changes at the moment",
    "What is there can still be read; nothing can be made or changed until the database can be written again.",
    retryable=True,
)
internal = Code(
    "internal", 500, "Something went wrong here", "The error is logged under this request_id.", retryable=True
)


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
    problem by name (`limit`, `used`, …). Without a `detail` the code's own is told."""

    def __init__(  # noqa: PLR0913
        self,
        code: Code,
        detail: str | None = None,
        *,
        errors: Sequence[ProblemItem] | None = None,
        headers: Mapping[str, str] | None = None,
        retryable: bool | None = None,
        category: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.detail = code.detail if detail is None else detail
        super().__init__(f"{code}: {self.detail}")
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
            dependency_unavailable,
            f"The {dependency} does not answer; try again shortly.",
            headers={"Retry-After": "2"},
        )
        self.dependency = dependency


class DatabaseReadOnlyError(DependencyError):
    """The database answers and refuses writes: its disk is full, or somebody has made it read-only. Reads go on."""

    def __init__(self) -> None:
        ProblemError.__init__(self, database_read_only, headers={"Retry-After": "30"})
        self.dependency = "database"


def account_gone() -> ProblemError:
    """For a session whose account has been deleted meanwhile."""
    return ProblemError(invalid_token, "This account no longer exists.")


def problem(  # noqa: PLR0913
    code: str,
    detail: str,
    *,
    errors: list[ProblemItem] | None = None,
    request_id: str | None = None,
    retryable: bool | None = None,
    category: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Problem:
    """Complete a code and a detail to a problem; an unknown code (of an older row) counts as internal."""
    found = CODES.get(code, internal)
    return Problem(
        type=f"urn:darkroom:problem:{found}",
        title=found.summary,
        status=found.status,
        detail=detail,
        code=found,
        retryable=found.retryable if retryable is None else retryable,
        request_id=request_id,
        category=category,
        errors=errors,
        **(facts or {}),
    )

"""Problems as answers over HTTP: what routes say they may answer, and what every exception becomes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx
import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from service.platform.errors import (
    Code,
    DependencyError,
    Problem,
    ProblemError,
    ProblemItem,
    account_suspended,
    api_access_required,
    api_key_expired,
    api_key_revoked,
    body_too_large,
    database_read_only,
    dependency_unavailable,
    expired_token,
    forbidden,
    insufficient_scope,
    internal,
    invalid_api_key,
    invalid_request,
    invalid_token,
    malformed_json,
    method_not_allowed,
    not_found,
    problem,
    rate_limited,
    request_timeout,
    session_required,
)

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
log = structlog.get_logger()
T = TypeVar("T")

# Any route may answer with these; `responses()` adds them so that OpenAPI tells the whole truth.
COMMON = (
    invalid_request,
    invalid_token,
    expired_token,
    account_suspended,
    invalid_api_key,
    api_key_revoked,
    api_key_expired,
    insufficient_scope,
    session_required,
    api_access_required,
    rate_limited,
    dependency_unavailable,
    database_read_only,
    internal,
)

_BY_STATUS = {
    404: not_found,
    405: method_not_allowed,
    400: malformed_json,
    413: body_too_large,
    403: forbidden,
    401: invalid_token,
}


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
        return ProblemError(malformed_json, first.msg)
    where = ".".join(str(part) for part in first.loc if part != "body")
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ProblemError(invalid_request, f"{where}: {first.msg}{more}" if where else first.msg, errors=items)


def responses(*codes: Code, common: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: every code it can answer with, by status, each with an example."""
    grouped: dict[int | str, dict[str, Any]] = {}
    for code in dict.fromkeys((*codes, *(COMMON if common else ()))):
        response = grouped.setdefault(
            code.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        names = [*filter(None, response["description"].split(", ")), f"`{code}`"]
        response["description"] = ", ".join(names)
        example = problem(code, code.detail, request_id="req_01J8Z3V6Q2", facts=code.facts)
        response["content"][MEDIA_TYPE]["examples"][str(code)] = {
            "summary": code.summary,
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
    code = _BY_STATUS.get(error.status_code, internal if error.status_code >= 500 else invalid_request)
    detail, headers = error.detail, error.headers
    if code is not_found:
        detail = f"No route matches {request.method} {request.scope['path']}."
    elif code is method_not_allowed:
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
    return _answer(request, ProblemError(request_timeout))


async def _on_dependency(request: Request, error: Exception) -> Response:
    """A transport error that no module put into its own words: the dependency is away."""
    dependency = "cache" if isinstance(error, RedisError) else "database"
    log.warning("dependency_unavailable", dependency=dependency, error=type(error).__name__)
    return _answer(request, DependencyError(dependency))


def unhandled(request_id: str | None) -> Response:
    """What a caller sees of a bug: nothing of its cause."""
    detail = "The error is logged under this request_id." if request_id else "The error is logged."
    return problem_response(problem(internal, detail, request_id=request_id))


def install(app: FastAPI) -> None:
    """Register the handlers. The telemetry middleware answers and logs what nobody handles."""
    # Starlette types a handler as one of any exception; each of these is called for its own class alone.
    app.add_exception_handler(ProblemError, _on_problem)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _on_http)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _on_disconnect)  # type: ignore[arg-type]
    app.add_exception_handler(httpx.TransportError, _on_dependency)
    app.add_exception_handler(RedisError, _on_dependency)

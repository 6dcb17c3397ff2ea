"""The OpenAPI document: what FastAPI derives, with problems as the only shape of an error and optional sign-in."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.platform.errors import (
    Problem,
    idempotency_in_progress,
    idempotency_key_reused,
    invalid_idempotency_key,
)
from service.platform.examples import add_examples
from service.platform.idempotency import IGNORED, METHODS
from service.platform.problems import responses

DESCRIPTION = """
Darkroom turns pictures into processed pictures: hash a file, ask `POST /intake`, upload it to the signed URL if it
was not known yet, and follow the job to its outputs.

Callers are anonymous, or send a Supabase user's access token, or an API key of such a user. Every error is an RFC
9457 problem document whose `code` is stable; failed, refused and canceled jobs cost nothing.
"""
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the call safe to repeat for 24 hours: it has its effect once, and the repetition gets the "
    "same answer with `Idempotent-Replayed: true`. A new random key (a UUID) for each new request; refused calls leave "
    "theirs free.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}
IDEMPOTENT_REPLAYED = {
    "description": "`true`: this is the stored answer to an earlier call with the same Idempotency-Key.",
    "schema": {"type": "string", "enum": ["true"]},
}
ScopeOf = Callable[[str, str], str | None]
"""(method, path of a route) to the scope that an API key needs there; None: keys are refused."""
TAGS = [
    {"name": "intake", "description": "Ask for a processed picture: from the cache at once, or as a job."},
    {"name": "jobs", "description": "Follow, confirm and cancel jobs."},
    {"name": "ops", "description": "What can be done to a picture, and the keys that name it."},
    {
        "name": "sharing",
        "description": "Links to one picture: made by its owner, opened by whoever has them.",
    },
    {
        "name": "library",
        "description": "The images of a signed-in user: list, versions, collections, archive.",
    },
    {
        "name": "billing",
        "description": "Plans and credits: what they cost, what was used, how they are bought.",
    },
    {"name": "api keys", "description": "Keys for programs: made, rotated and revoked by their owner."},
    {"name": "me", "description": "All data of the caller: delete it, or take a copy along."},
    {
        "name": "admin",
        "description": "For operators: accounts with a role in the table `admins`. Every change has a reason.",
    },
    {"name": "health", "description": "For load balancers and monitors."},
]


def install(app: FastAPI, *, models: Sequence[type[BaseModel]], key_pattern: str, scope_of: ScopeOf) -> None:
    """Make `app.openapi()` build our document, once. models: those that routes refer to by name, since FastAPI does not
    see them in their signatures; key_pattern: of an API key."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = _document(app, models)
            _secure(document, key_pattern, scope_of)
            _repeatable(document)
            add_examples(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign] # the way FastAPI documents for extending it


def _repeatable(document: dict[str, Any]) -> None:
    """Say of each route that changes something that it takes an Idempotency-Key, and how it refuses one."""
    document["components"]["parameters"] = {"IdempotencyKey": IDEMPOTENCY_KEY}
    document["components"]["headers"] = {"IdempotentReplayed": IDEMPOTENT_REPLAYED}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method.upper() not in METHODS or f"{method.upper()} {path}" in IGNORED:
                continue
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
            for status, answer in operation["responses"].items():
                if int(status) < 400:
                    answer.setdefault("headers", {})["Idempotent-Replayed"] = {
                        "$ref": "#/components/headers/IdempotentReplayed"
                    }
            _add_refusals(operation["responses"])


def _add_refusals(answers: dict[str, Any]) -> None:
    refusals = responses(
        invalid_idempotency_key, idempotency_key_reused, idempotency_in_progress, common=False
    )
    for status, refusal in refusals.items():
        there = answers.setdefault(str(status), refusal)
        if there is not refusal:
            there["description"] += f", {refusal['description']}"
            for media_type, content in refusal["content"].items():
                there["content"][media_type]["examples"] |= content["examples"]


def body(app: FastAPI) -> bytes:
    """The document as it is sent, written out once."""
    if not hasattr(app.state, "openapi_body"):
        app.state.openapi_body = orjson.dumps(app.openapi())
    found: bytes = app.state.openapi_body
    return found


def _document(app: FastAPI, models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    unseen: list[type[BaseModel]] = [Problem, *models]
    for model in unseen:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _secure(document: dict[str, Any], key_pattern: str, scope_of: ScopeOf) -> None:
    """Say who may call each route."""
    document["components"]["securitySchemes"] = {
        "user": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Access token of a Supabase user. Leave it out to be anonymous.",
        },
        "key": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": key_pattern,
            "description": "API key of a user whose plan has API access, in the same header. What is named beside it "
            "for a route is the scope that the key needs; where nothing is, keys are refused.",
        },
    }
    document["security"] = [{}, {"user": []}]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if scope := scope_of(method.upper(), path):
                operation["security"] = [{}, {"user": []}, {"key": [scope]}]

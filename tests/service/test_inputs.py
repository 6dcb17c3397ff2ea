"""Request bodies are taken as JSON has them: every field of every body that the OpenAPI document lists."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from scripts.local.process import Child
from service.access.schemas import KeyChange
from service.app import create_app
from service.collections.schemas import CollectionChange
from service.intake.schemas import IntakeRequest
from service.platform.fields import Input, Moment
from service.teams.schemas import TeamChange
from tests.service.conftest import settings_with
from tests.support import User

WRONG: dict[str, tuple[Any, ...]] = {
    "integer": (True, False, "1", "", 1.5, 1.0, 1e300, [1], {}),
    "number": (True, "1"),
    "boolean": (0, 1, "true", "on", 1.0),
    "string": (1, 1.5, True, ["a"], {}),
    "array": ("a", 1, True, {}),
    "object": ("a", 1, True, []),
}
NOBODY = "00000000-0000-4000-8000-000000000000"
PYTHON: dict[str, set[type]] = {
    "integer": {int},
    "number": {int, float},
    "boolean": {bool},
    "string": {str},
    "array": {list},
    "object": {dict},
    "null": {type(None)},
}


@dataclass(frozen=True)
class Body:
    """The body of one operation: where it is sent, a valid one, and the JSON types of each field."""

    method: str
    path: str
    example: dict[str, Any]
    fields: dict[str, set[str]]


def kinds(schema: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """The JSON types that a schema allows."""
    if "$ref" in schema:
        return kinds(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    found = {kind for option in schema.get("anyOf", ()) for kind in kinds(option, schemas)}
    if "const" in schema or "enum" in schema:
        found.add("string")
    return found | ({schema["type"]} if "type" in schema else set())


def bodies() -> Iterator[Body]:
    document = create_app(settings_with()).openapi()
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" not in content or path.startswith("/webhooks/"):
                continue
            schema = content["application/json"]["schema"]
            for option in schema.get("anyOf", [schema]):
                name = option["$ref"].rpartition("/")[2]
                found = schemas[name]
                assert found["additionalProperties"] is False, name
                example = next(iter(found.get("examples", [{}])))
                fields = {field: kinds(one, schemas) for field, one in found["properties"].items()}
                yield Body(method.upper(), re.sub(r"\{[^}]*\}", NOBODY, path), example, fields)


BODIES = list(bodies())


def models() -> set[type[Input]]:
    """All bodies, those that extend one included."""

    def below(model: type[Input]) -> Iterator[type[Input]]:
        for one in model.__subclasses__():
            yield one
            yield from below(one)

    return set(below(Input))


@pytest.fixture
async def operator(api: Child, user: User, db: asyncpg.Connection[asyncpg.Record]) -> httpx.AsyncClient:
    """A caller whom no route refuses for who they are."""
    await db.execute("insert into admins (user_id, role, granted_by) values ($1, 'admin', 'test')", user.id)
    return httpx.AsyncClient(base_url=api.url, headers=user.bearer, trust_env=False, timeout=30)


def test_the_document_lists_the_bodies() -> None:
    assert len(BODIES) >= 30
    assert sum("integer" in types for body in BODIES for types in body.fields.values()) >= 12


def test_every_body_is_strict() -> None:
    assert len(models()) >= 25
    for model in models():
        assert model.model_config["strict"], model
        assert model.model_config["extra"] == "forbid", model
        for example in model.model_config.get("json_schema_extra", {}).get("examples", ()):  # type: ignore[union-attr]
            model.model_validate(example)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body.method} {body.path}")
async def test_a_value_of_another_type_is_refused(operator: httpx.AsyncClient, body: Body) -> None:
    async with operator:
        for field, types in body.fields.items():
            wrong = [
                value
                for value in {
                    repr(value): value for kind in types - {"null"} for value in WRONG[kind]
                }.values()
                if not any(fits(value, kind) for kind in types)
            ]
            assert wrong, field
            for value in wrong:
                answer = await operator.request(body.method, body.path, json=body.example | {field: value})
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), (field, value)
                assert any(item["loc"][:2] == ["body", field] for item in answer.json()["errors"]), (
                    field,
                    value,
                )


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body.method} {body.path}")
async def test_no_text_holds_a_nul(operator: httpx.AsyncClient, body: Body) -> None:
    """Postgres keeps none, so that one which reaches it is a crash. A password is hashed here."""
    async with operator:
        for field, types in body.fields.items():
            if field == "password":
                continue
            known = body.example.get(field)
            text = known if isinstance(known, str) else "12345678"
            for kind, value in (("string", f"{text}\0"), ("string", "a\0b3456789"), ("array", ["a\0b"])):
                if kind in types:
                    sent = body.example | {field: value}
                    answer = await operator.request(body.method, body.path, json=sent)
                    # A batch answers each op by itself.
                    answers = answer.json().get("items", [answer.json()])
                    status = [one.get("problem", one)["status"] for one in answers]
                    assert status == [422], (field, value, answer.text)


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a JSON type."""
    return type(value) in PYTHON[kind]


async def test_ids_and_times_come_as_text(operator: httpx.AsyncClient) -> None:
    async with operator:
        answer = await operator.post("/jobs/claim", json={"job_ids": [str(uuid.uuid4())]})
        assert answer.json()["code"] == "job_not_found"  # the body is right
        for wrong in (1, True, "1", None):
            assert (await operator.post("/jobs/claim", json={"job_ids": [wrong]})).status_code == 422
    moment = TypeAdapter(Moment)
    assert moment.validate_python("2027-12-31T00:00:00Z").year == 2027
    for number in (1_800_000_000, 1.8e9, True, "1800000000", " 1800000000.5 ", "+1"):
        with pytest.raises(ValidationError):
            moment.validate_python(number)
    assert moment.validate_python(datetime(2027, 1, 1)) == datetime(2027, 1, 1)


async def test_query_parameters_stay_text(operator: httpx.AsyncClient) -> None:
    async with operator:
        assert (await operator.get("/images", params={"limit": "1"})).status_code == 200


@pytest.mark.parametrize("model", [CollectionChange, TeamChange, KeyChange])
def test_names_are_kept_composed(model: type[BaseModel]) -> None:
    """As macOS writes them, they come in pieces."""
    decomposed = unicodedata.normalize("NFD", "Müller")
    assert model.model_validate({"name": decomposed}).model_dump()["name"] == "Müller" != decomposed


def test_a_filename_is_measured_composed() -> None:
    claim = {"sha256": "0" * 64, "size": 1, "width": 1, "height": 1, "op_key": "resize-v1:width-1"}
    decomposed = unicodedata.normalize("NFD", "ü" * 255)
    assert IntakeRequest.model_validate(claim | {"filename": decomposed}).filename == "ü" * 255

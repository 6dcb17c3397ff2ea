"""Whoever reads the API's description sees an example of every answer that is JSON, and it is a valid one."""

from __future__ import annotations

from typing import Any

import jsonschema_rs  # schemathesis brings it
import pytest

from service.app import create_app
from service.platform.examples import ABSENT, example
from tests.service.conftest import settings_with

Answer = tuple[str, dict[str, Any]]


def _examples(media: dict[str, Any], schemas: dict[str, Any]) -> list[Any]:
    """Of an answer itself, or of the model that it is."""
    if "example" in media:
        return [media["example"]]
    model = schemas[media["schema"]["$ref"].rpartition("/")[2]] if "$ref" in media["schema"] else {}
    return [*model.get("examples", []), *(each["value"] for each in media.get("examples", {}).values())]


def test_every_answer_in_json_has_a_valid_example(clean_environment: None) -> None:
    document = create_app(settings_with()).openapi()
    schemas = document["components"]["schemas"]
    answers: list[Answer] = [
        (f"{method.upper()} {path} {status}", answer["content"]["application/json"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for status, answer in operation["responses"].items()
        if status.startswith("2") and "application/json" in answer.get("content", {})
    ]
    assert len(answers) > 40
    for label, media in answers:
        examples = _examples(media, schemas)
        assert examples, label
        schema = {**media["schema"], "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for each in examples:
            errors = [f"{error.message} at {error.instance_path}" for error in validator.iter_errors(each)]
            assert errors == [], label
            assert not isinstance(each, dict) or set(each) <= _known(media["schema"], schemas), label


def _known(schema: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    target = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return set(target.get("properties", {}))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "enum": ["queued", "done"]}, "done"),
        ({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}, None),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Node"}}, [{"status": {}}]),
        ({"type": "boolean", "default": True}, True),
    ],
)
def test_an_example_follows_its_schema(schema: dict[str, Any], expected: Any) -> None:
    node = {"type": "object", "properties": {"status": {"$ref": "#/components/schemas/Node"}}}
    name = "status" if "enum" in schema else next(iter(ABSENT))
    assert example(schema, {"Node": node}, name) == expected

"""Examples of answers for the OpenAPI document, made from their schemas.

What a schema says itself (`examples`, `const`, `default`) goes first, then what a name means all over the API, then the
type. So every answer has one that is valid, and a new route needs none of its own.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_ID = "7c0e2f4a-4f7e-4c38-9d2f-1b7a4a7d2c11"
_URL = "https://project.supabase.co/storage/v1/object/sign/outputs-ephemeral/7c0e2f4a.webp?token=…"
WORDS: Mapping[str, Any] = {
    "filename": "mug.jpg",
    "op_key": "bgremove-v2+flatten-v1:color-white",
    "op": "bgremove-v2",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "content_type": "image/webp",
    "width": 1200,
    "height": 900,
    "size": 84_210,
    "progress": 1.0,
    "attempts": 1,
    "prompt": "on an oak table",
    "variant": "full",
    "scan": "none",
    "moderation": "clean",
    "status": "done",
    "upload_path": f"{_ID}/original",
    "bucket": "outputs-ephemeral",
    "path": f"{_ID}.webp",
    "email": "ada@example.com",
    "reason": "asked for by the owner",
    "currency": "eur",
    "plan": "pro",
    "plan_id": "pro",
    "name": "Mugs",
    "id": "pro",
    "upload_bucket": "uploads-ephemeral",
}
"""By the name of a property, wherever it fits the schema."""
ABSENT = frozenset({"error", "archived_at", "revoked_at", "hint", "over_quota_since", "kept_until"})
"""Properties that are mostly null, where they may be."""


def example(
    schema: Schema, schemas: Mapping[str, Schema], name: str = "", seen: frozenset[str] = frozenset()
) -> Any:
    """A value of this schema; `schemas`: what references lead to; `name`: of the property it is for."""
    if said := _said(schema, name):
        return _whole(said[0], schema, schemas)
    if reference := schema.get("$ref"):
        target = str(reference).rpartition("/")[2]
        return {} if target in seen else example(schemas[target], schemas, name, seen | {target})
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return _one_of(options, schemas, name, seen)
    match schema.get("type"):
        case "object":
            return _object(schema, schemas, seen)
        case "array":
            items = schema.get("items", {})
            return [example(items, schemas, name.removesuffix("s"), seen)][: schema.get("maxItems", 1)]
        case other:
            return _plain(str(other), schema, name)


def _said(schema: Schema, name: str) -> list[Any]:
    """What the schema or the name offers, best first."""
    offers = [*schema.get("examples", []), *(schema[key] for key in ("example", "const") if key in schema)]
    word = WORDS.get(name)
    if choices := schema.get("enum"):
        offers += [word] if word in choices else choices
    elif "format" not in schema and isinstance(word, _TYPES.get(schema.get("type", ""), ())):
        offers.append(word)
    if schema.get("default") not in (None, [], {}):
        offers.append(schema["default"])
    return offers


def _whole(value: Any, schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    """An example that a model gives itself, with the nulls that FastAPI takes out of what is written there."""
    if reference := schema.get("$ref"):
        return _whole(value, schemas[str(reference).rpartition("/")[2]], schemas)
    if options := schema.get("anyOf"):
        return _whole(value, options[0], schemas)
    if not isinstance(value, dict):
        return value
    properties, required = schema.get("properties", {}), schema.get("required", [])
    nulls = dict.fromkeys(key for key in required if key not in value)
    return nulls | {key: _whole(each, properties.get(key, {}), schemas) for key, each in value.items()}


def _one_of(options: list[Schema], schemas: Mapping[str, Schema], name: str, seen: frozenset[str]) -> Any:
    real = [option for option in options if option.get("type") != "null"]
    if not real or (name in ABSENT and len(real) < len(options)):
        return None
    loop = str(real[0].get("$ref", "")).rpartition("/")[2] in seen
    return None if loop and len(real) < len(options) else example(real[0], schemas, name, seen)


def _object(schema: Schema, schemas: Mapping[str, Schema], seen: frozenset[str]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    found = {key: example(value, schemas, key, seen) for key, value in properties.items()}
    others = schema.get("additionalProperties")
    if not properties and isinstance(others, Mapping):
        key = schema.get("propertyNames", {}).get("enum", ["user-library"])[0]
        found[key] = example(others, schemas, "", seen)
    return found


def _plain(kind: str, schema: Schema, name: str) -> Any:
    if kind in {"integer", "number"}:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        return max(least, min(1, schema.get("maximum", 1)))
    if kind != "string":
        return {"boolean": False}.get(kind)
    formats = {
        "uuid": _ID,
        "date-time": "2026-11-20T13:00:04Z",
        "date": "2026-11-20",
        "uri": _URL,
        "email": WORDS["email"],
        "binary": "…",
    }
    if "format" in schema:
        return formats.get(schema["format"], "…")
    if name.endswith("url"):
        return _URL
    return (name.replace("_", " ") or "text").ljust(schema.get("minLength", 0), "…")


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
}


def add_examples(document: dict[str, Any]) -> None:
    """Give every JSON answer of success its example, where it has none."""
    schemas = document["components"]["schemas"]
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                media = answer.get("content", {}).get("application/json")
                if (
                    status.startswith("2")
                    and media is not None
                    and not media.keys() & {"example", "examples"}
                ):
                    media["example"] = example(media.get("schema", {}), schemas)

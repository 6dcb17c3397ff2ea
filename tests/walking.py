"""Every route of an API, called as its own OpenAPI document describes it, on an account that has one of everything.

It knows no code of the service, so it can walk an older release as well.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.local.home import Local
from tests.client import Client
from tests.photos import Photo, photo
from tests.support import User, set_plan, sign_up

OP = "resize-v1:width-64"
ORDER = ("get", "post", "put", "patch", "delete")
"""Looking first, so that what is looked at is still there; removing last."""
STREAMS = {"/jobs/{job_id}/events"}
"""Answers that go on until a job ends; `furnish` has listened to one."""
LAST = {("delete", "/me/data")}


@dataclass(frozen=True)
class Account:
    """A user with a library; `ids` by the names of path parameters. `hit` and `shared` are cached pictures of the user
    and of visitors."""

    user: User
    ids: Mapping[str, str]
    hit: Photo
    shared: Photo


@dataclass(frozen=True)
class Answer:
    """How a route has answered."""

    method: str
    path: str
    status: int
    code: str | None
    body: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}: {self.status} {self.code or ''} {self.body[:300]}"


async def furnish(local: Local, api_url: str) -> Account:
    """An account with an image in the library, in a collection, shared; a team with an invitation, a key, an export.
    Needs a worker."""
    user = await sign_up(local)
    await set_plan(local, user.id, "pro")
    picture, shared = photo(), photo()
    async with Client(api_url) as visitor, Client(api_url, user.token) as client:
        anonymous = await visitor.process(shared, OP)
        assert anonymous["status"] == "done", anonymous
        document = await client.process(picture, OP)
        assert document["status"] == "done", document
        output_id = document["output"]["output_id"]
        kept = await _post(client, "/outputs/promote", {"output_id": output_id})
        collection = await _post(client, "/collections", {"name": f"Mugs {secrets.token_hex(4)}"})
        image_id = kept["image_id"]
        added = await client.http.put(f"/collections/{collection['collection_id']}/images/{image_id}")
        assert added.is_success, added.text
        link = await _post(client, f"/outputs/{output_id}/share", {"expires_in": 3600})
        team = await _post(client, "/teams", {"name": "Mugs"})
        invitation = await _post(
            client,
            f"/teams/{team['team_id']}/invitations",
            {"email": f"{secrets.token_hex(6)}@example.com", "role": "viewer"},
        )
        key = await _post(client, "/api-keys", {"name": "Importer", "scopes": ["intake"]})
        export = await _post(client, "/me/export", None)
    ids = {
        "job_id": document["job_id"],
        "output_id": output_id,
        "image_id": image_id,
        "collection_id": collection["collection_id"],
        "share_id": link["share_id"],
        "token": link["url"].rpartition("/")[2],
        "team_id": team["team_id"],
        "member_id": str(user.id),
        "invitation_id": invitation["invitation_id"],
        "key_id": key["key_id"],
        "request_id": export["request_id"],
        "user_id": str(user.id),
        "sha256": picture.sha256,
    }
    return Account(user, ids, picture, shared)


async def _post(client: Client, path: str, body: Any) -> dict[str, Any]:
    answer = await client.http.post(path, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


async def walk(client: Client, account: Account, *, looking: bool = False) -> list[Answer]:
    """Call every route once, in ORDER, with bodies made from the schemas; `looking`: only those that change nothing."""
    document = (await client.http.get("/openapi.json")).json()
    answers = []
    for method, path, operation in _operations(document):
        if looking and method != "get":
            continue
        url = path.format_map(_Ids(account.ids))
        body = _body(document, operation)
        response = await client.http.request(method.upper(), url, json=body, follow_redirects=False)
        problem = response.headers.get("content-type", "").startswith("application/problem+json")
        code = response.json()["code"] if problem else None
        answers.append(Answer(method, path, response.status_code, code, response.text))
    assert len(answers) > (30 if looking else 70)
    return answers


class _Ids(dict[str, str]):
    """An id of nothing for a parameter that the account has nothing for."""

    def __missing__(self, _name: str) -> str:
        return str(uuid.uuid4())


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    routes = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path not in STREAMS
    ]
    yield from sorted(routes, key=lambda route: (route[:2] in LAST, ORDER.index(route[0]), route[1]))


def _body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if content is None else _example(document, content["schema"])


def _example(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """Something that the schema allows, as far as a schema can say: its example, else the least of its type."""
    if reference := schema.get("$ref"):
        return _example(document, document["components"]["schemas"][reference.rpartition("/")[2]])
    if "examples" in schema:
        return schema["examples"][0]
    for key in ("default", "const"):
        if schema.get(key) is not None:
            return schema[key]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _example(document, schema[key][0])
    if "enum" in schema:
        return schema["enum"][0]
    return _least(document, schema)


def _least(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _example(document, properties[name]) for name in schema.get("required", [])}
    if kind == "array":
        return [_example(document, schema["items"])] if schema.get("minItems") else []
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    uuid_like = schema.get("format") == "uuid"
    word = str(uuid.uuid4()) if uuid_like else "a" * max(1, schema.get("minLength", 0))
    return {"boolean": True, "string": word}.get(str(kind))

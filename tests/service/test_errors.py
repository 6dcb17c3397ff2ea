"""Problems: every way a request can fail ends in one shape, and every code is whole."""

import copy
import pickle
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, TypeAdapter
from redis.exceptions import ConnectionError as RedisConnectionError

from scripts.local.home import REPOSITORY
from service.error_codes import CODES
from service.jobs.errors import op_failed
from service.platform.errors import (
    Code,
    DependencyError,
    Problem,
    ProblemError,
    ProblemItem,
    body_too_large,
    dependency_unavailable,
    internal,
    invalid_request,
    known,
    malformed_json,
    method_not_allowed,
    not_found,
    problem,
    too_large,
)
from service.platform.problems import COMMON, responses, validated

ClientOf = Callable[[FastAPI], httpx.AsyncClient]
SECRET_INPUT = "hunter2"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int
    name: str


BODY = TypeAdapter(Body)


@pytest.fixture
def client(probe: FastAPI, client_of: ClientOf) -> httpx.AsyncClient:
    @probe.post("/body")
    async def typed(body: Body) -> Body:
        return body

    @probe.post("/hot")
    async def hot(request: Request) -> Body:
        return validated(BODY, await request.body())

    @probe.get("/items/{number}")
    async def item(number: int) -> int:
        return number

    @probe.delete("/items/{number}")
    async def remove(number: int) -> None:
        return None

    @probe.get("/refuse/{code}")
    async def refuse(code: str) -> None:
        raise ProblemError(known(code), "said so", headers={"Retry-After": "7"})

    @probe.get("/away/{what}")
    async def away(what: str) -> None:
        kinds: dict[str, Exception] = {
            "http": httpx.ConnectError("http://db.internal:3000 refused"),
            "timeout": httpx.ReadTimeout("slow"),
            "redis": RedisConnectionError("redis://cache.internal"),
            "typed": DependencyError("storage"),
        }
        raise kinds[what]

    @probe.get("/bug")
    async def bug() -> None:
        raise RuntimeError(SECRET_INPUT)

    return client_of(probe)


def check(answer: httpx.Response, status: int, code: Code) -> Problem:
    """The answer is this problem, in the right media type, consistent with its code and its own request id."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = Problem.model_validate(answer.json())
    assert document.code is code
    assert document.status == status == code.status
    assert document.title == code.summary
    assert document.type == f"urn:darkroom:problem:{code}"
    assert document.charged == 0
    assert document.request_id == answer.headers["x-request-id"]
    assert SECRET_INPUT not in answer.text
    return document


@pytest.mark.parametrize("code", list(CODES.values()), ids=str)
async def test_every_code_has_its_status(client: httpx.AsyncClient, code: Code) -> None:
    answer = await client.get(f"/refuse/{code}")
    document = check(answer, code.status, code)
    assert document.detail == "said so"
    assert answer.headers["retry-after"] == "7"
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)


@pytest.mark.parametrize("path", ["/body", "/hot"])
async def test_an_invalid_body_lists_its_faults_without_repeating_it(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.post(path, json={"width": SECRET_INPUT})
    document = check(answer, 422, invalid_request)
    assert document.errors is not None
    assert [(item.loc, item.type) for item in document.errors] == [
        (["body", "width"], "int_parsing"),
        (["body", "name"], "missing"),
    ]
    assert document.detail.startswith("width: ")


@pytest.mark.parametrize("path", ["/body", "/hot"])
async def test_a_body_of_faults_does_not_grow_in_the_answer(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, json={f"n{index}": SECRET_INPUT for index in range(1000)})
    document = check(answer, 422, invalid_request)
    assert document.errors is not None
    assert len(document.errors) == 20
    assert document.detail.endswith("(and 1001 more)")


@pytest.mark.parametrize("path", ["/body", "/hot"])
@pytest.mark.parametrize("body", [b"{", b"", b'{"width": 1,}', b"\xff\xfe", b'"\\ud800"'])
async def test_a_body_that_is_not_json(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    check(answer, answer.status_code, malformed_json if answer.status_code == 400 else invalid_request)


async def test_cut_json_is_malformed(client: httpx.AsyncClient) -> None:
    for path in ("/body", "/hot"):
        answer = await client.post(path, content=b'{"width": 1', headers={"content-type": "application/json"})
        check(answer, 400, malformed_json)


async def test_a_parameter_of_the_wrong_type(client: httpx.AsyncClient) -> None:
    document = check(await client.get("/items/x"), 422, invalid_request)
    assert document.errors is not None
    assert document.errors[0].loc == ["path", "number"]


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    assert "/nowhere" in check(await client.get("/nowhere"), 404, not_found).detail
    answer = await client.put("/items/1")
    check(answer, 405, method_not_allowed)
    assert answer.headers["allow"] == "GET, DELETE"


@pytest.mark.parametrize("what", ["http", "timeout", "redis", "typed"])
async def test_a_dependency_that_is_away(client: httpx.AsyncClient, what: str) -> None:
    answer = await client.get(f"/away/{what}")
    document = check(answer, 503, dependency_unavailable)
    assert document.retryable
    assert answer.headers["retry-after"] == "2"
    assert "internal" not in document.detail


async def test_a_bug_shows_nothing_of_itself(client: httpx.AsyncClient) -> None:
    check(await client.get("/bug"), 500, internal)


async def test_a_body_too_large_by_its_length(client: httpx.AsyncClient) -> None:
    for path in ("/body", "/hot"):
        answer = await client.post(path, content=b" " * 65_537)
        check(answer, 413, body_too_large)
        assert answer.headers["connection"] == "close"


async def test_a_body_too_large_without_a_length(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 30_000

    for path in ("/body", "/hot"):
        check(await client.post(path, content=chunks()), 413, body_too_large)


async def test_a_body_of_exactly_the_limit_passes(client: httpx.AsyncClient) -> None:
    body = b'{"width": 1, "name": "x"}'
    answer = await client.post("/hot", content=body + b" " * (65_536 - len(body)))
    assert answer.status_code == 200


def test_an_unknown_code_of_an_older_row_counts_as_internal() -> None:
    assert problem("code_of_the_past", "what happened").code is internal


def test_a_retryable_override_wins_over_the_codes_own() -> None:
    assert not ProblemError(internal, "x", retryable=False).problem().retryable
    assert ProblemError(op_failed, "x", retryable=True).problem().retryable


def test_every_code_is_whole() -> None:
    for code in CODES.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]+", code)
        assert 400 <= code.status <= 599
        assert code.summary[0].isupper()
        assert code.detail


def test_every_module_of_codes_is_collected_and_names_them_as_they_are_called() -> None:
    names = set()
    for file in sorted((REPOSITORY / "service").rglob("*.py")):
        source = file.read_text("utf-8")
        if "Code(" not in source:
            continue
        names |= {
            name for name, code in re.findall(r'^(\w+) = Code\(\s*"(\w+)"', source, re.M) if name == code
        }
    assert names == set(CODES)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        Code("internal", 500, "Again", "Again.")
    assert CODES["internal"] is internal


def test_a_code_survives_a_copy() -> None:
    assert copy.deepcopy(internal) is internal
    assert pickle.loads(pickle.dumps(internal)) is internal


def test_responses_list_every_code_with_an_example() -> None:
    listed: dict[Any, Any] = responses(too_large, body_too_large)
    assert set(listed) == {413, *(code.status for code in COMMON)}
    examples = listed[413]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"too_large", "body_too_large"}
    for response in listed.values():
        for example in response["content"]["application/problem+json"]["examples"].values():
            Problem.model_validate(example["value"])


def test_items_survive_a_round_trip() -> None:
    item = ProblemItem(loc=["body", 3], msg="m", type="t")
    error = ProblemError(invalid_request, "d", errors=[item])
    assert Problem.model_validate(error.problem("id").model_dump(mode="json")).errors == [item]

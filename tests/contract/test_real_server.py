"""Where the real Storage server (supabase/storage 1.11.2) is less strict than one thinks, or says it in other words.

Every test holds on that server, too. With CONTRACT_STORAGE_URL (its address, as `http://localhost:5000`),
CONTRACT_SERVICE_KEY (a JWT of the service role) and CONTRACT_DATABASE_URL (a superuser of its Postgres) they run there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from tests.contract.conftest import Target, make_bucket

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
async def database(target: Target) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The Postgres of the storage server."""
    connection = await asyncpg.connect(target.database_url)
    yield connection
    await connection.close()


async def _token(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str, path: str, **headers: str
) -> str:
    answer = await http.post(f"/object/upload/sign/{bucket}/{path}", headers={**service_key, **headers})
    answer.raise_for_status()
    token: str = answer.json()["token"]
    return token


def _metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


async def _send_tus(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], data: bytes, **described: str
) -> httpx.Response:
    """Create a resumable upload and send all of it; the last answer, which may be a refusal of the first."""
    wanted = {"Upload-Length": str(len(data)), "Upload-Metadata": _metadata(**described)}
    created = await http.post(path, headers={**TUS, **headers, **wanted})
    if created.status_code != 201:
        return created
    sent = {**TUS, **headers, **OCTETS, "Upload-Offset": "0"}
    return await http.patch(created.headers["location"], headers=sent, content=data)


async def _read(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str, path: str
) -> httpx.Response:
    return await http.get(f"/object/authenticated/{bucket}/{path}", headers=service_key)


# -- uploads


async def test_a_signed_resumable_upload_overwrites_without_upsert(
    http: httpx.AsyncClient,
    service_key: dict[str, str],
    bucket: str,
    database: asyncpg.Connection[asyncpg.Record],
) -> None:
    """The row is updated: it keeps its id and gets another version."""
    token = await _token(http, service_key, bucket, "a.png")
    put = await http.put(f"/object/upload/sign/{bucket}/a.png", params={"token": token}, content=b"first")
    assert put.status_code == 200
    row = "select id, version from storage.objects where bucket_id = $1"
    before = await database.fetchrow(row, bucket)
    assert before is not None
    for data in (b"second", b"third"):
        answer = await _send_tus(
            http,
            "/upload/resumable/sign",
            {"x-signature": token},
            data,
            bucketName=bucket,
            objectName="a.png",
            contentType="image/png",
        )
        assert answer.status_code == 204, answer.text
        assert (await _read(http, service_key, bucket, "a.png")).content == data
    [after] = await database.fetch(row, bucket)
    assert after["id"] == before["id"]
    assert after["version"] != before["version"]
    again = await http.put(f"/object/upload/sign/{bucket}/a.png", params={"token": token}, content=b"no")
    assert again.json()["statusCode"] == "409"  # the other way is guarded


async def test_a_resumable_upload_without_a_signature_is_guarded(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    named = {"bucketName": bucket, "objectName": "a.png", "contentType": "image/png"}
    first = await _send_tus(http, "/upload/resumable", service_key, b"first", **named)
    assert first.status_code == 204
    second = await _send_tus(http, "/upload/resumable", service_key, b"second", **named)
    assert second.status_code == 409


async def test_a_resumable_upload_without_a_type_is_taken_as_octets(
    http: httpx.AsyncClient, service_key: dict[str, str]
) -> None:
    bucket = await make_bucket(http, service_key, allowed_mime_types=["image/png"])
    named = {"bucketName": bucket, "objectName": "a.png"}
    answer = await _send_tus(http, "/upload/resumable", service_key, b"any", **named)
    assert answer.status_code == 204
    served = await _read(http, service_key, bucket, "a.png")
    assert served.headers["content-type"] == "application/octet-stream"
    wrong = await _send_tus(
        http, "/upload/resumable", service_key, b"any", **named | {"contentType": "text/plain"}
    )
    assert wrong.status_code in {409, 415}


async def test_a_chunked_put_is_not_limited(http: httpx.AsyncClient, service_key: dict[str, str]) -> None:
    """Only an announced length is compared with the limit of the bucket."""
    bucket = await make_bucket(http, service_key, file_size_limit=1000)
    token = await _token(http, service_key, bucket, "a.bin")
    url = f"/object/upload/sign/{bucket}/a.bin"

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield bytes(100_000)

    announced = await http.put(url, params={"token": token}, content=bytes(1001))
    assert (announced.json()["statusCode"], announced.json()["error"]) == ("413", "Payload too large")
    chunked = await http.put(url, params={"token": token}, content=chunks())
    assert chunked.status_code == 200
    assert len((await _read(http, service_key, bucket, "a.bin")).content) == 3_000_000


async def test_parallel_puts_on_one_token_may_both_succeed(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    """Whether the name is free is asked before the body arrives; the later one to end replaces the earlier."""
    token = await _token(http, service_key, bucket, "a.bin")
    url = f"/object/upload/sign/{bucket}/a.bin"
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(250_000)
        begun.set()  # more than the sockets hold: it was let in and is being read
        await go_on.wait()
        yield b"slowly"

    put = asyncio.create_task(http.put(url, params={"token": token}, content=slow(), timeout=30))
    await begun.wait()
    assert (await http.put(url, params={"token": token}, content=b"quick")).status_code == 200
    assert (await _read(http, service_key, bucket, "a.bin")).content == b"quick"
    go_on.set()
    assert (await put).status_code == 200
    assert (await _read(http, service_key, bucket, "a.bin")).content.endswith(b"slowly")


async def test_a_refused_large_put_ends_its_connection(
    http: httpx.AsyncClient, service_key: dict[str, str]
) -> None:
    """It is answered, hangs or is reset, but never read to its end; another connection is not concerned."""
    bucket = await make_bucket(http, service_key, file_size_limit=10)
    url, headers = f"/object/{bucket}/a.bin", {**service_key, "Content-Type": "image/png"}
    try:
        answer = await http.post(url, headers=headers, content=bytes(50_000_000), timeout=20)
    except httpx.TransportError:
        pass
    else:
        assert answer.json()["statusCode"] == "413"
    assert (await http.post(url, headers=headers, content=b"0123456789")).status_code == 200


async def test_a_signed_put_answers_only_the_key(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    token = await _token(http, service_key, bucket, "a.png")
    answer = await http.put(f"/object/upload/sign/{bucket}/a.png", params={"token": token}, content=b"x")
    assert answer.json() == {"Key": f"{bucket}/a.png"}


# -- words


async def test_the_version_is_told(http: httpx.AsyncClient) -> None:
    answer = await http.get("/version")
    assert answer.status_code == 200
    assert answer.text.count(".") == 2


@dataclass(frozen=True)
class Malformed:
    """A request that the schema of its route refuses, and what the refusal speaks of."""

    method: str
    path: str
    body: Mapping[str, object] | None
    words: str


@pytest.mark.parametrize(
    "request_",
    [
        Malformed("POST", "/object/sign/{bucket}/a.png", {}, "expiresIn"),
        Malformed("POST", "/object/sign/{bucket}/a.png", {"expiresIn": "soon"}, "integer"),
        Malformed("POST", "/object/list/{bucket}", {"prefix": "", "limit": "many"}, "integer"),
        Malformed("DELETE", "/object/{bucket}", {"prefixes": []}, "fewer than 1 items"),
        Malformed("PUT", "/object/upload/sign/{bucket}/a.png", None, "token"),
    ],
    ids=lambda request_: f"{request_.method} {request_.words}",
)
async def test_a_malformed_request_is_an_error_without_a_code(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str, request_: Malformed
) -> None:
    content = None if request_.body is None else json.dumps(request_.body)
    headers = service_key if content is None else {**service_key, "Content-Type": "application/json"}
    path = request_.path.format(bucket=bucket)
    answer = await http.request(request_.method, path, headers=headers, content=content)
    told = answer.json()
    assert (answer.status_code, told["statusCode"], told["error"]) == (400, "400", "Error")
    assert request_.words in told["message"]
    assert "code" not in told


async def test_a_missing_key_is_an_error_without_a_code(http: httpx.AsyncClient) -> None:
    answer = await http.get("/bucket")
    assert (answer.status_code, answer.json()["error"], answer.json()["statusCode"]) == (400, "Error", "400")
    assert "authorization" in answer.json()["message"]


async def test_a_duplicate_is_told_as_key_already_exists(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    for _ in range(2):
        answer = await http.post(f"/object/{bucket}/a.png", headers=service_key, content=b"x")
    told = answer.json()
    assert (answer.status_code, told["statusCode"]) == (400, "409")
    assert (told["code"], told["error"]) == ("KeyAlreadyExists", "Duplicate")
    assert told["message"] == "The resource already exists"


# -- downloads


async def test_head_of_an_objects_info_has_its_headers(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    await http.post(f"/object/{bucket}/a.png", headers=service_key, content=b"12345")
    answer = await http.head(f"/object/info/{bucket}/a.png", headers=service_key)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"]
    assert (await http.head(f"/object/info/{bucket}/none", headers=service_key)).status_code == 400


async def test_a_range_outside_the_object_is_416_without_a_range(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    await http.post(f"/object/{bucket}/a.png", headers=service_key, content=b"12345")
    answer = await http.get(f"/object/{bucket}/a.png", headers={**service_key, "Range": "bytes=5-"})
    assert (answer.status_code, answer.json()["statusCode"]) == (416, "416")
    assert "content-range" not in answer.headers


async def test_objects_are_not_for_search_engines(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    await http.post(f"/object/{bucket}/a.png", headers=service_key, content=b"12345")
    answer = await _read(http, service_key, bucket, "a.png")
    assert answer.headers["x-robots-tag"] == "none"


# -- listings


async def test_a_listing_mixes_files_and_folders_by_name(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    for path in ("b.txt", "B/x.txt", "a.txt", "c/y.txt", "c.txt", "d"):
        (await http.post(f"/object/{bucket}/{path}", headers=service_key, content=b"x")).raise_for_status()

    async def names(**asked: object) -> list[str]:
        answer = await http.post(f"/object/list/{bucket}", headers=service_key, json={"prefix": "", **asked})
        return [entry["name"] for entry in answer.json()]

    by_name = ["a.txt", "b.txt", "B", "c.txt", "c", "d"]  # '.' comes before the '/' of a folder
    assert await names() == by_name
    assert await names(sortBy={"column": "name", "order": "desc"}) == by_name[::-1]
    assert await names(limit=2, offset=1) == by_name[1:3]
    assert await names(search="b") == ["b.txt", "B"]
    by_time = await names(sortBy={"column": "created_at", "order": "asc"})
    assert by_time == ["B", "c", "b.txt", "a.txt", "c.txt", "d"]


# -- the schema


async def test_names_have_the_collation_of_the_database(
    database: asyncpg.Connection[asyncpg.Record],
) -> None:
    collation = await database.fetchval(
        "select collname from pg_attribute a join pg_collation c on c.oid = a.attcollation"
        " where attrelid = 'storage.objects'::regclass and attname = 'name'"
    )
    assert collation == "default"


async def test_the_columns_of_object_versioning(database: asyncpg.Connection[asyncpg.Record]) -> None:
    rows = await database.fetch(
        "select table_name || '.' || column_name as name, data_type, is_nullable, column_default"
        " from information_schema.columns where table_schema = 'storage' and column_name = any ($1)",
        ["archived_at", "is_delete_marker", "is_versioned", "versioning_status"],
    )
    assert {row["name"]: tuple(row.values())[1:] for row in rows} == {
        "objects.archived_at": ("timestamp with time zone", "YES", None),
        "objects.is_delete_marker": ("boolean", "NO", "false"),
        "objects.is_versioned": ("boolean", "NO", "false"),
        "buckets.versioning_status": ("text", "NO", "'DISABLED'::text"),
    }


async def test_archived_versions_and_delete_markers_are_no_objects(
    http: httpx.AsyncClient,
    service_key: dict[str, str],
    bucket: str,
    database: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Rows as a versioned bucket has them: a live one over an archived one, and a marker over an archived one."""
    for name in ("live", "removed"):
        (await http.post(f"/object/{bucket}/{name}", headers=service_key, content=b"x")).raise_for_status()
    await database.execute(
        "update storage.objects set is_versioned = true, archived_at = now()"
        " where bucket_id = $1 and name = 'removed'",
        bucket,
    )
    await database.execute(
        "insert into storage.objects (bucket_id, name, version, is_versioned, is_delete_marker, archived_at) values"
        " ($1, 'removed', $2, true, true, null), ($1, 'live', $3, true, false, now())",
        bucket,
        secrets.token_hex(8),
        secrets.token_hex(8),
    )
    listing = await http.post(f"/object/list/{bucket}", headers=service_key, json={"prefix": ""})
    assert [entry["name"] for entry in listing.json()] == ["live"]
    page = await http.post(f"/object/list-v2/{bucket}", headers=service_key, json={"prefix": ""})
    assert [entry["name"] for entry in page.json()["objects"]] == ["live"]
    assert (await _read(http, service_key, bucket, "live")).content == b"x"
    assert (await _read(http, service_key, bucket, "removed")).status_code == 400
    signed = await http.post(
        f"/object/sign/{bucket}", headers=service_key, json={"expiresIn": 60, "paths": ["live", "removed"]}
    )
    assert [entry["error"] is None for entry in signed.json()] == [True, False]

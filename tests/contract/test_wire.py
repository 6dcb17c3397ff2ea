"""Storage seen as bare HTTP: ranges, validators, cross-origin answers, keys and refusals."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json

import asyncpg
import httpx
import pytest

from scripts.local.home import Local
from tests.contract.conftest import Target, make_bucket
from tests.support import PATIENCE, User

BODY = bytes(range(256)) * 2000  # 512 000 bytes: more than goes out in one piece
ETAG = f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'


@pytest.fixture
async def signed(http: httpx.AsyncClient, service_key: dict[str, str], bucket: str) -> str:
    """The signed path of an object with BODY."""
    headers = {**service_key, "Content-Type": "image/png", "Cache-Control": "max-age=60"}
    (await http.post(f"/object/{bucket}/a.png", headers=headers, content=BODY)).raise_for_status()
    answer = await http.post(f"/object/sign/{bucket}/a.png", headers=service_key, json={"expiresIn": "60"})
    path: str = answer.json()["signedURL"]
    return path


async def test_a_signed_url_carries_the_headers_of_the_object(http: httpx.AsyncClient, signed: str) -> None:
    answer = await http.get(signed)
    assert answer.status_code == 200
    assert answer.content == BODY
    assert answer.headers["etag"] == ETAG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(BODY))
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["expires"].endswith("GMT")
    assert "content-disposition" not in answer.headers


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299", 100, 300),
        ("bytes=511990-", 511_990, 512_000),
        ("bytes=-10", 511_990, 512_000),
        ("bytes=511990-999999", 511_990, 512_000),
        ("bytes=0-499999", 0, 500_000),
    ],
)
async def test_a_range_is_206(
    http: httpx.AsyncClient, signed: str, wanted: str, start: int, stop: int
) -> None:
    answer = await http.get(signed, headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == BODY[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BODY)}"


async def test_a_range_outside_the_object_is_416(http: httpx.AsyncClient, signed: str) -> None:
    answer = await http.get(signed, headers={"Range": "bytes=512000-"})
    assert answer.status_code == 416
    assert "content-range" not in answer.headers
    assert (answer.json()["statusCode"], answer.json()["error"]) == ("416", "InvalidRange")


async def test_a_range_of_another_version_is_the_whole(http: httpx.AsyncClient, signed: str) -> None:
    answer = await http.get(signed, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (answer.status_code, len(answer.content)) == (200, len(BODY))


@pytest.mark.parametrize("tag", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*"])
async def test_a_current_copy_is_304(http: httpx.AsyncClient, signed: str, tag: str) -> None:
    answer = await http.get(signed, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", ETAG)


async def test_a_stale_copy_is_sent_anew(http: httpx.AsyncClient, signed: str) -> None:
    answer = await http.get(signed, headers={"If-None-Match": '"stale"'})
    assert (answer.status_code, len(answer.content)) == (200, len(BODY))
    modified = answer.headers["last-modified"]
    assert (await http.get(signed, headers={"If-Modified-Since": modified})).status_code == 304


async def test_head_has_the_headers_without_the_bytes(
    http: httpx.AsyncClient, service_key: dict[str, str], signed: str, bucket: str
) -> None:
    answer = await http.head(f"/object/{bucket}/a.png", headers=service_key)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(BODY))
    assert answer.headers["cache-control"] == "max-age=60"
    assert (await http.head(f"/object/{bucket}/none", headers=service_key)).status_code == 400


async def test_html_is_served_as_text(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    headers = {**service_key, "Content-Type": "text/html"}
    await http.post(f"/object/{bucket}/a.html", headers=headers, content=b"<script>")
    answer = await http.get(f"/object/authenticated/{bucket}/a.html", headers=service_key)
    assert answer.headers["content-type"] == "text/plain"


# -- uploads


async def _posted(target: Target, bucket: str, length: int, body: bytes) -> bytes:
    """The answer to a POST that is written at once, head and body: as far as the end of its JSON."""
    url = httpx.URL(f"{target.url}/object/{bucket}/a.bin")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {url.path} HTTP/1.1\r\nHost: x\r\napikey: {target.service_key}\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.readuntil(b"}")
    writer.close()
    return answer


async def test_the_connection_of_a_refused_put_ends_with_the_answer(
    http: httpx.AsyncClient, service_key: dict[str, str], target: Target
) -> None:
    """The rest of the body is not read; small bodies, which have arrived by then, cost no connection."""
    bucket = await make_bucket(http, service_key, file_size_limit=10)
    large = await _posted(target, bucket, 50_000_000, bytes(100_000))
    assert b"connection: close" in large.lower()
    small = await _posted(target, bucket, 11, bytes(11))
    assert b"connection: close" not in small.lower()
    for answer in (large, small):
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["statusCode"] == "413"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"no parts"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\ncut',
        ),
    ],
)
async def test_a_malformed_form_is_refused(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str, content_type: str, body: bytes
) -> None:
    headers = {**service_key, "Content-Type": content_type}
    answer = await http.post(f"/object/{bucket}/a.png", headers=headers, content=body)
    assert (answer.status_code, answer.json()["statusCode"]) == (400, "400")
    listing = await http.post(f"/object/list/{bucket}", headers=service_key, json={"prefix": ""})
    assert listing.json() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"expiresIn": "soon"}', b"{}"])
async def test_a_malformed_json_body_is_refused(
    http: httpx.AsyncClient, service_key: dict[str, str], signed: str, bucket: str, body: bytes
) -> None:
    answer = await http.post(f"/object/sign/{bucket}/a.png", headers=service_key, content=body)
    assert (answer.status_code, answer.json()["statusCode"]) == (400, "400")


@pytest.mark.parametrize(
    "body",
    [{"limit": -1}, {"limit": 10**30}, {"offset": "x"}, {"sortBy": {"column": "id; drop"}}, {"prefix": "\0"}],
)
async def test_a_senseless_listing_is_refused(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str, body: dict[str, object]
) -> None:
    answer = await http.post(f"/object/list/{bucket}", headers=service_key, json=body)
    assert (answer.status_code, answer.json()["statusCode"]) == (400, "400")


async def test_custom_metadata_may_be_large(
    http: httpx.AsyncClient, service_key: dict[str, str], bucket: str
) -> None:
    custom = {"text": "x" * 20_000}
    encoded = base64.b64encode(json.dumps(custom).encode()).decode()
    headers = {**service_key, "x-metadata": encoded, "Content-Type": "image/png"}
    await http.post(f"/object/{bucket}/a.png", headers=headers, content=b"x")
    found = await http.get(f"/object/info/{bucket}/a.png", headers=service_key)
    assert found.json()["metadata"] == custom


# -- callers


async def test_a_route_without_a_key_asks_for_one(http: httpx.AsyncClient, bucket: str) -> None:
    answer = await http.post(f"/object/list/{bucket}", json={"prefix": ""})
    assert answer.status_code == 400
    assert answer.json()["message"] == "headers must have required property 'authorization'"


async def test_the_key_may_come_in_either_header(http: httpx.AsyncClient, local: Local) -> None:
    for headers in (
        {"apikey": local.secret_key},
        {"Authorization": f"Bearer {local.secret_key}"},
        {"apikey": local.secret_key, "Authorization": f"Bearer {local.secret_key}"},
    ):
        names = [bucket["name"] for bucket in (await http.get("/bucket", headers=headers)).json()]
        assert "uploads-ephemeral" in names
    assert (await http.get("/bucket", headers={"apikey": local.publishable_key})).json() == []


async def test_a_users_token_wins_over_the_secret_key(
    http: httpx.AsyncClient, local: Local, user: User
) -> None:
    headers = {"apikey": local.secret_key, **user.bearer}
    assert (await http.get("/bucket", headers=headers)).json() == []


async def test_sql_cannot_delete_objects(
    local: Local, http: httpx.AsyncClient, signed: str, bucket: str
) -> None:
    connection = await asyncpg.connect(local.database_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="Use the Storage API"):
            await connection.execute("delete from storage.objects where bucket_id = $1", bucket)
    finally:
        await connection.close()
    assert (await http.get(signed)).status_code == 200


# -- cross-origin


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        (
            "PUT",
            "/storage/v1/object/upload/sign/b/a.png",
            "content-type, x-upsert, cache-control, x-metadata",
        ),
        ("POST", "/storage/v1/object/b/a.png", "authorization, apikey, x-client-info, x-upsert"),
        (
            "PATCH",
            "/storage/v1/upload/resumable/sign/x",
            "x-signature, tus-resumable, upload-offset, content-type",
        ),
        ("HEAD", "/storage/v1/upload/resumable/x", "authorization, tus-resumable, x-whatever-comes-next"),
        ("GET", "/storage/v1/object/sign/b/a.png", "range, if-none-match"),
        ("POST", "/rest/v1/rpc/anything", "apikey, authorization, content-profile, prefer"),
        ("POST", "/auth/v1/token", "apikey, authorization, x-supabase-api-version"),
    ],
)
async def test_a_preflight_allows_what_the_browser_asks_for(
    local: Local, http: httpx.AsyncClient, method: str, path: str, headers: str
) -> None:
    answer = await http.options(
        local.supabase_url + path,
        headers={
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert method in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == headers


async def test_answers_are_readable_across_origins(
    local: Local, http: httpx.AsyncClient, service_key: dict[str, str], signed: str
) -> None:
    headers = {**service_key, "Origin": "https://app.example.com"}
    for path in (
        f"{local.supabase_url}/storage/v1{signed}",
        f"{local.supabase_url}/storage/v1/object/none/none",
        f"{local.supabase_url}/rest/v1/profiles",
        f"{local.supabase_url}/auth/v1/health",
    ):
        answer = await http.get(path, headers=headers)
        assert answer.headers.get_list("access-control-allow-origin") == ["*"], path
        exposed = answer.headers["access-control-expose-headers"].lower()
        for name in ("upload-offset", "location", "tus-resumable", "content-range", "etag"):
            assert name in exposed


async def test_tus_tells_what_it_can(http: httpx.AsyncClient) -> None:
    answer = await http.options("/upload/resumable")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert {"creation", "termination"} <= set(answer.headers["tus-extension"].split(","))

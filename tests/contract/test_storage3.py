"""The contract with storage3, the Python client: every method of its async and its sync classes.

One case per method name, run against both; `test_every_method_has_a_case` reads the classes themselves.
"""

from __future__ import annotations

import inspect
import io
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from storage3 import AsyncStorageClient, SyncStorageClient
from storage3._async.file_api import AsyncBucketActionsMixin
from storage3._sync.file_api import SyncBucketActionsMixin
from storage3.exceptions import StorageApiError

from scripts.local.home import Local


@dataclass
class Client:
    """Either client behind `await client.call(method, …)`."""

    storage: Any
    bucket: str
    url: str

    @property
    def files(self) -> Any:
        return self.storage.from_(self.bucket)

    @staticmethod
    async def call(method: Callable[..., Any], *args: object, **options: object) -> Any:
        answer = method(*args, **options)
        return await answer if inspect.isawaitable(answer) else answer

    async def refused(self, status: str, method: Callable[..., Any], *args: object) -> StorageApiError:
        with pytest.raises(StorageApiError) as caught:
            await self.call(method, *args)
        assert str(caught.value.status) == status
        return caught.value


@pytest.fixture(params=["async", "sync"])
async def client(request: pytest.FixtureRequest, local: Local) -> AsyncIterator[Client]:
    url, headers = f"{local.supabase_url}/storage/v1/", {"apikey": local.secret_key}
    bucket = f"contract-{secrets.token_hex(6)}"
    if request.param == "async":
        async with httpx.AsyncClient(trust_env=False) as session:
            found = Client(AsyncStorageClient(url, headers, http_client=session), bucket, url)
            await found.call(found.storage.create_bucket, bucket)
            yield found
    else:
        with httpx.Client(trust_env=False) as plain:
            found = Client(SyncStorageClient(url, headers, http_client=plain), bucket, url)
            await found.call(found.storage.create_bucket, bucket)
            yield found


# -- buckets


async def create_bucket(c: Client) -> None:
    name = f"contract-{secrets.token_hex(6)}"
    options = {"public": True, "file_size_limit": 1000, "allowed_mime_types": ["image/*"]}
    assert await c.call(c.storage.create_bucket, name, options=options) == {"name": name}
    made = await c.call(c.storage.get_bucket, name)
    assert (made.public, made.file_size_limit, made.allowed_mime_types) == (True, 1000, ["image/*"])
    assert (await c.refused("409", c.storage.create_bucket, name)).code == "Duplicate"


async def get_bucket(c: Client) -> None:
    found = await c.call(c.storage.get_bucket, c.bucket)
    assert (found.id, found.name, found.owner, found.public) == (c.bucket, c.bucket, "", False)
    assert (await c.refused("404", c.storage.get_bucket, "contract-none")).message == "Bucket not found"


async def list_buckets(c: Client) -> None:
    assert c.bucket in [bucket.id for bucket in await c.call(c.storage.list_buckets)]


async def update_bucket(c: Client) -> None:
    answer = await c.call(c.storage.update_bucket, c.bucket, {"public": True, "file_size_limit": 5})
    assert answer == {"message": "Successfully updated"}
    found = await c.call(c.storage.get_bucket, c.bucket)
    assert (found.public, found.file_size_limit) == (True, 5)


async def empty_bucket(c: Client) -> None:
    await c.call(c.files.upload, "a/b.txt", b"x")
    await c.call(c.storage.empty_bucket, c.bucket)
    assert await c.call(c.files.list) == []


async def delete_bucket(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"x")
    await c.refused("409", c.storage.delete_bucket, c.bucket)
    await c.call(c.storage.empty_bucket, c.bucket)
    assert await c.call(c.storage.delete_bucket, c.bucket) == {"message": "Successfully deleted"}
    await c.refused("404", c.storage.get_bucket, c.bucket)


# -- files


async def upload(c: Client) -> None:
    options = {"content-type": "image/png", "cache-control": "60", "metadata": {"k": 1}}
    stored = await c.call(c.files.upload, "/deep/a b.png", b"bytes", options)
    assert (stored.path, stored.full_path) == ("deep/a b.png", f"{c.bucket}/deep/a b.png")
    info = await c.call(c.files.info, "deep/a b.png")
    assert (info["content_type"], info["cache_control"]) == ("image/png", "max-age=60")
    assert (info["size"], info["metadata"]) == (5, {"k": 1})
    error = await c.refused("409", c.files.upload, "deep/a b.png", b"again")
    assert error.message == "The resource already exists"
    await c.call(c.files.upload, "deep/a b.png", io.BufferedReader(io.BytesIO(b"again")), {"upsert": "true"})
    assert await c.call(c.files.download, "deep/a b.png") == b"again"


async def update(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"one")
    await c.call(c.files.update, "a.txt", b"two")
    assert await c.call(c.files.download, "a.txt") == b"two"


async def download(c: Client) -> None:
    large = bytes(range(256)) * 8000
    await c.call(c.files.upload, "a.bin", large)
    assert await c.call(c.files.download, "a.bin") == large
    assert (await c.refused("404", c.files.download, "none")).code == "not_found"


async def info(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"12345")
    found = await c.call(c.files.info, "a.txt")
    assert (found["name"], found["bucket_id"], found["size"]) == ("a.txt", c.bucket, 5)
    await c.refused("404", c.files.info, "none")


async def exists(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"x")
    assert await c.call(c.files.exists, "a.txt") is True
    assert await c.call(c.files.exists, "b.txt") is False


async def list_(c: Client) -> None:
    for name in ("b.txt", "a.txt", "dir/c.txt"):
        await c.call(c.files.upload, name, b"x")
    assert [entry["name"] for entry in await c.call(c.files.list)] == ["a.txt", "b.txt", "dir"]
    assert [entry["name"] for entry in await c.call(c.files.list, "dir")] == ["c.txt"]
    options = {"limit": 1, "sortBy": {"column": "name", "order": "desc"}, "search": "b"}
    assert [entry["name"] for entry in await c.call(c.files.list, "", options)] == ["b.txt"]


async def list_v2(c: Client) -> None:
    for name in ("a.txt", "b.txt", "dir/c.txt"):
        await c.call(c.files.upload, name, b"x")
    first = await c.call(c.files.list_v2, {"limit": 2, "with_delimiter": True})
    assert ([item.name for item in first.objects], first.hasNext) == (["a.txt", "b.txt"], True)
    second = await c.call(c.files.list_v2, {"cursor": first.nextCursor, "with_delimiter": True})
    assert ([item.name for item in second.folders], second.hasNext) == (["dir/"], False)
    flat = await c.call(c.files.list_v2, {"prefix": "dir/"})
    assert [item.name for item in flat.objects] == ["dir/c.txt"]


async def copy(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"x")
    assert (await c.call(c.files.copy, "a.txt", "b.txt"))["Key"] == f"{c.bucket}/b.txt"
    assert await c.call(c.files.download, "b.txt") == b"x"
    await c.refused("404", c.files.copy, "none", "c.txt")


async def move(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"x")
    assert (await c.call(c.files.move, "a.txt", "b/c.txt"))["message"] == "Successfully moved"
    assert await c.call(c.files.exists, "a.txt") is False
    assert await c.call(c.files.download, "b/c.txt") == b"x"


async def remove(c: Client) -> None:
    for name in ("a.txt", "b.txt"):
        await c.call(c.files.upload, name, b"x")
    removed = await c.call(c.files.remove, ["a.txt", "none"])
    assert [row["name"] for row in removed] == ["a.txt"]
    assert [entry["name"] for entry in await c.call(c.files.list)] == ["b.txt"]


async def create_signed_url(c: Client) -> None:
    await c.call(c.files.upload, "a b.txt", b"signed")
    url = (await c.call(c.files.create_signed_url, "a b.txt", 60, {"download": "x.txt"}))["signedURL"]
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url)
    assert (answer.status_code, answer.content) == (200, b"signed")
    assert answer.headers["content-disposition"].startswith("attachment; filename=x.txt")
    await c.refused("404", c.files.create_signed_url, "none", 60)


async def create_signed_urls(c: Client) -> None:
    await c.call(c.files.upload, "a.txt", b"signed")
    found, missing = await c.call(c.files.create_signed_urls, ["a.txt", "none"], 60)
    assert (found["error"], found["path"]) == (None, "a.txt")
    assert (missing["signedURL"], missing["path"]) == (None, "none")
    assert "does not exist" in missing["error"]
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(found["signedURL"])).content == b"signed"


async def create_signed_upload_url(c: Client) -> None:
    signed = await c.call(c.files.create_signed_upload_url, "in/a.png")
    assert signed["path"] == "in/a.png"
    assert signed["signed_url"] == f"{c.url}object/upload/sign/{c.bucket}/in/a.png?token={signed['token']}"
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.put(signed["signed_url"], content=b"raw", headers={"Content-Type": "image/png"})
    assert answer.json()["Key"] == f"{c.bucket}/in/a.png"
    assert await c.call(c.files.download, "in/a.png") == b"raw"


async def upload_to_signed_url(c: Client) -> None:
    token = (await c.call(c.files.create_signed_upload_url, "a.png"))["token"]
    options = {"content-type": "image/png", "metadata": {"k": 1}}
    stored = await c.call(c.files.upload_to_signed_url, "a.png", token, b"picture", options)
    assert stored.full_path == f"{c.bucket}/a.png"
    found = await c.call(c.files.info, "a.png")
    assert (found["content_type"], found["metadata"]) == ("image/png", {"k": 1})
    assert (await c.refused("409", c.files.upload_to_signed_url, "a.png", token, b"x")).code == "Duplicate"
    error = await c.refused("400", c.files.upload_to_signed_url, "b.png", token, b"x")
    assert error.code == "InvalidSignature"
    error = await c.refused("400", c.files.upload_to_signed_url, "a.png", token[:-2], b"x")
    assert error.code == "InvalidJWT"


async def get_public_url(c: Client) -> None:
    await c.call(c.storage.update_bucket, c.bucket, {"public": True})
    await c.call(c.files.upload, "a.txt", b"public")
    url = await c.call(c.files.get_public_url, "a.txt", {"download": True})
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url)
    assert (answer.content, answer.headers["content-disposition"]) == (b"public", "attachment;")


# -- features that are off


async def vectors(c: Client) -> None:
    await c.refused("409", c.storage.vectors().create_bucket, "v")
    await c.refused("409", c.storage.vectors().from_("v").list_indexes)


async def analytics(c: Client) -> None:
    await c.refused("409", c.storage.analytics().create, "a")
    await c.refused("409", c.storage.analytics().list)


CASES: dict[str, Callable[[Client], Awaitable[None]]] = {
    case.__name__.rstrip("_"): case
    for case in (
        *(create_bucket, get_bucket, list_buckets, update_bucket, empty_bucket, delete_bucket),
        *(upload, update, download, info, exists, list_, list_v2, copy, move, remove),
        *(create_signed_url, create_signed_urls, create_signed_upload_url, upload_to_signed_url),
        *(get_public_url, vectors, analytics),
    )
}


@pytest.mark.parametrize("method", CASES)
async def test_method(client: Client, method: str) -> None:
    await CASES[method](client)


@pytest.mark.parametrize(
    "classes",
    [(AsyncStorageClient, AsyncBucketActionsMixin), (SyncStorageClient, SyncBucketActionsMixin)],
    ids=["async", "sync"],
)
def test_every_method_has_a_case(classes: tuple[type, ...]) -> None:
    methods = {
        name
        for cls in classes
        for name, _ in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and name != "from_"
    }
    assert methods - {"aclose"} == set(CASES)


async def test_a_path_on_disk_can_be_uploaded(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"from disk")
    await client.call(client.files.upload, "a.txt", path)
    assert await client.call(client.files.download, "a.txt") == b"from disk"

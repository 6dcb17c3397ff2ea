"""Storage: every method against the embedded stack's Storage, and every way it can fail."""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from scripts.local.home import Local
from scripts.local.stack import Stack
from service.platform.errors import DependencyError
from service.platform.resources import Platform, open_platform
from service.platform.storage import Storage
from service.platform.storage_errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    StorageError,
)
from tests.library.people import Connection
from tests.lost import lose
from tests.service.conftest import settings_for, settings_with
from tests.service.junk import NOT_HTTP, saying

UPLOADS, OUTPUTS, LIBRARY = "uploads-ephemeral", "outputs-ephemeral", "user-library"
BYTES = b"RIFF....WEBPVP8 " + bytes(range(256)) * 400


@pytest.fixture
def storage(platform: Platform) -> Storage:
    return platform.storage


@pytest.fixture
def path() -> str:
    return f"{uuid.uuid4()}.webp"


@pytest.fixture
async def web_client() -> AsyncIterator[httpx.AsyncClient]:
    """A client without any key, as a browser is."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def test_what_is_uploaded_comes_back(storage: Storage, path: str, tmp_path: Path) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    found = await storage.download(OUTPUTS, path, tmp_path / "x", max_bytes=len(BYTES))
    assert (tmp_path / "x").read_bytes() == BYTES
    assert found.size == len(BYTES)
    assert found.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert found.content_type == "image/webp"


async def test_a_file_is_uploaded_from_disk(storage: Storage, path: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(BYTES)
    await storage.upload(OUTPUTS, path, tmp_path / "in", "image/webp")
    info = await storage.info(OUTPUTS, path)
    assert info is not None
    assert (info.size, info.content_type) == (len(BYTES), "image/webp")
    assert info.created_at is not None
    assert abs(datetime.now(UTC) - info.created_at) < timedelta(minutes=1)


async def test_nothing_is_overwritten_and_the_connection_still_serves(storage: Storage, path: str) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    for _ in range(3):
        with pytest.raises(ObjectExistsError):
            await storage.upload(OUTPUTS, path, b"other" * 100_000, "image/webp")
    info = await storage.info(OUTPUTS, path)
    assert info is not None
    assert info.size == len(BYTES)


async def test_a_type_that_the_bucket_does_not_take(storage: Storage, path: str) -> None:
    with pytest.raises(StorageError) as refused:
        await storage.upload(OUTPUTS, path, b"<svg/>", "image/svg+xml")
    assert type(refused.value) is StorageError
    assert refused.value.status == "415"


async def test_an_upload_url_takes_one_upload(storage: Storage, web_client: httpx.AsyncClient) -> None:
    path = f"{uuid.uuid4()}/original"
    signed = await storage.sign_upload(UPLOADS, path)
    assert signed.path == path
    assert signed.token in signed.url
    assert timedelta(0) < signed.expires_at - datetime.now(UTC) <= timedelta(hours=2)
    put = await web_client.put(signed.url, content=BYTES, headers={"Content-Type": "image/webp"})
    assert put.status_code == 200
    again = await web_client.put(signed.url, content=b"other", headers={"Content-Type": "image/webp"})
    assert (again.status_code, again.json()["statusCode"]) == (400, "409")
    info = await storage.info(UPLOADS, path)
    assert info is not None
    assert info.size == len(BYTES)


async def test_a_download_url_works_without_a_key(
    storage: Storage, path: str, local: Local, web_client: httpx.AsyncClient
) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    url = await storage.sign_download(OUTPUTS, path, 60)
    assert url.startswith(f"{local.supabase_url}/storage/v1/object/sign/{OUTPUTS}/")
    answer = await web_client.get(url)
    assert answer.content == BYTES
    assert "content-disposition" not in answer.headers
    named = await web_client.get(await storage.sign_download(OUTPUTS, path, 60, download_name="my cup.webp"))
    assert "attachment" in named.headers["content-disposition"]
    assert "cup.webp" in named.headers["content-disposition"]


async def test_batch_signing_tells_what_is_missing(
    storage: Storage, path: str, web_client: httpx.AsyncClient
) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    urls = await storage.sign_downloads(OUTPUTS, [path, "missing.webp"], 60)
    assert urls["missing.webp"] is None
    found = urls[path]
    assert found is not None
    assert (await web_client.get(found)).content == BYTES
    assert await storage.sign_downloads(OUTPUTS, [], 60) == {}


async def test_what_does_not_exist(storage: Storage, path: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError):
        await storage.sign_download(OUTPUTS, path, 60)
    with pytest.raises(ObjectNotFoundError):
        await storage.download(OUTPUTS, path, tmp_path / "x", max_bytes=10)
    with pytest.raises(ObjectNotFoundError):
        await storage.copy(OUTPUTS, path, f"copy-{path}")
    with pytest.raises(StorageError, match="Bucket not found"):
        await storage.ping("no-such-bucket")
    assert await storage.info(OUTPUTS, path) is None
    assert not (tmp_path / "x").exists()


async def test_a_download_stops_at_the_cap(storage: Storage, path: str, tmp_path: Path) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    with pytest.raises(ObjectTooLargeError):
        await storage.download(OUTPUTS, path, tmp_path / "x", max_bytes=len(BYTES) - 1)
    assert not (tmp_path / "x").exists()


async def test_copies_also_between_buckets(storage: Storage, path: str, tmp_path: Path) -> None:
    owner = uuid.uuid4()
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    await storage.copy(OUTPUTS, path, f"copy-{path}")
    await storage.copy(OUTPUTS, path, f"{owner}/copy.webp", target_bucket=LIBRARY)
    for bucket, name in ((OUTPUTS, f"copy-{path}"), (LIBRARY, f"{owner}/copy.webp")):
        found = await storage.download(bucket, name, tmp_path / "x", max_bytes=len(BYTES))
        assert found.sha256 == hashlib.sha256(BYTES).hexdigest()
        assert found.content_type == "image/webp"
    with pytest.raises(ObjectExistsError):
        await storage.copy(OUTPUTS, f"copy-{path}", f"{owner}/copy.webp", target_bucket=LIBRARY)


async def test_removing_twice_is_harmless(storage: Storage, path: str) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    assert await storage.remove(OUTPUTS, [path, "missing.webp", path]) == [path]
    assert await storage.remove(OUTPUTS, [path]) == []
    assert await storage.remove(OUTPUTS, []) == []
    assert await storage.info(OUTPUTS, path) is None


async def test_more_objects_than_one_call_removes(storage: Storage, path: str) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    assert await storage.remove(OUTPUTS, [*(f"missing-{n}" for n in range(1000)), path]) == [path]


async def test_listing_goes_through_folders_and_pages(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.platform.storage.PAGE", 2)
    folder = f"{uuid.uuid4()}"
    names = sorted([f"{folder}/{letter}/original" for letter in "abcde"])
    for name in names:
        await storage.upload(UPLOADS, name, BYTES, "image/webp")
    found = [item async for item in storage.list_objects(UPLOADS, f"{folder}/")]
    assert [item.path for item in found] == names
    assert {item.size for item in found} == {len(BYTES)}
    assert all(item.created_at is not None for item in found)


MISSING = {
    "S3": {"statusCode": "404", "code": "S3Error", "error": "S3Error", "message": "NoSuchKey"},
    "ENOENT": {
        "statusCode": "500",
        "code": "InternalError",
        "error": "InternalError",
        "message": "ENOENT: no such file or directory, stat '/mnt/stub/stub/outputs-ephemeral/x.webp/1'",
    },
}
"""How the real server tells that the bytes of a row are gone, by its backend: S3, or files."""

ELSEWHERE = {
    "nonsense": (200, "<html>captive portal</html>"),
    "redirect": (302, ""),
    "another document": (200, '"x"'),
}
"""What comes from something that is not Storage: status and body."""


def read_by_storage3(storage: Storage) -> Iterator[Awaitable[object]]:
    """The calls whose answer's body is read."""
    yield storage.sign_download(OUTPUTS, "x", 60)
    yield storage.sign_downloads(OUTPUTS, ["x"], 60)
    yield storage.sign_upload(OUTPUTS, "x")
    yield storage.remove(OUTPUTS, ["x"])
    yield storage.info(OUTPUTS, "x")
    yield storage.size_limit(OUTPUTS)
    yield anext(storage.list_objects(OUTPUTS))


def whole(storage: Storage) -> Iterator[Awaitable[object]]:
    """Those, and the calls that read no answer."""
    yield from read_by_storage3(storage)
    yield storage.ping(OUTPUTS)
    yield storage.upload(OUTPUTS, "x", BYTES, "image/webp")
    yield storage.copy(OUTPUTS, "x", "y")


class TestAway:
    """Storage that is down, answers nonsense, or breaks off in the middle."""

    @pytest.fixture
    async def behaviour(self) -> AsyncIterator[dict[str, str]]:
        wanted = {"kind": "503", "url": "", "asked": "0"}

        async def answer(request: web.Request) -> web.StreamResponse:
            wanted["asked"] = str(int(wanted["asked"]) + 1)
            if wanted["kind"] == "503":
                return web.Response(status=503, text="<html>upstream</html>")
            if wanted["kind"] == "429":
                return web.json_response(
                    {"statusCode": "429", "error": "slow_down", "message": ""}, status=400
                )
            if wanted["kind"] in MISSING:
                return web.json_response(
                    MISSING[wanted["kind"]], status=500 if "ENOENT" in wanted["kind"] else 400
                )
            if wanted["kind"] in ELSEWHERE:
                status, text = ELSEWHERE[wanted["kind"]]
                return web.Response(text=text, status=status, headers={"Location": "/login"})
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        wanted["url"] = "http://{}:{}".format(*runner.addresses[0][:2])
        yield wanted
        await runner.cleanup()

    @pytest.fixture
    async def broken(self, behaviour: dict[str, str]) -> AsyncIterator[Storage]:
        async with open_platform(settings_with(supabase_url=behaviour["url"])) as platform:
            yield platform.storage

    @pytest.mark.parametrize("kind", ["503", "429"])
    async def test_idempotent_calls_are_tried_twice(
        self, broken: Storage, behaviour: dict[str, str], kind: str
    ) -> None:
        behaviour["kind"] = kind
        with pytest.raises(DependencyError):
            await broken.sign_download(OUTPUTS, "x", 60)
        assert behaviour["asked"] == "2"

    @pytest.mark.parametrize("kind", MISSING)
    async def test_bytes_that_are_gone_behind_a_real_server(
        self, broken: Storage, behaviour: dict[str, str], tmp_path: Path, kind: str
    ) -> None:
        behaviour["kind"] = kind
        assert not await broken.has_bytes(OUTPUTS, "x")
        with pytest.raises(ObjectNotFoundError):
            await broken.download(OUTPUTS, "x", tmp_path / "x", max_bytes=10)
        with pytest.raises(ObjectNotFoundError):
            await broken.copy(OUTPUTS, "x", "y")

    @pytest.mark.parametrize("kind", ["503", "429"])
    async def test_a_storage_that_is_away_says_nothing_of_bytes(
        self, broken: Storage, behaviour: dict[str, str], kind: str
    ) -> None:
        behaviour["kind"] = kind
        with pytest.raises(DependencyError):
            await broken.has_bytes(OUTPUTS, "x")

    async def test_an_upload_is_tried_once(self, broken: Storage, behaviour: dict[str, str]) -> None:
        with pytest.raises(DependencyError):
            await broken.upload(OUTPUTS, "x", BYTES, "image/webp")
        with pytest.raises(DependencyError):
            await broken.copy(OUTPUTS, "x", "y")
        assert behaviour["asked"] == "2"

    @pytest.mark.parametrize("kind", ELSEWHERE)
    async def test_an_answer_that_is_not_storage(
        self, broken: Storage, behaviour: dict[str, str], kind: str
    ) -> None:
        behaviour["kind"] = kind
        for call in read_by_storage3(broken):
            with pytest.raises(DependencyError):
                await call

    async def test_a_redirect_is_no_object(
        self, broken: Storage, behaviour: dict[str, str], tmp_path: Path
    ) -> None:
        """Else a sign-in page in front of Storage would be an upload of no bytes, which is dropped as a wrong one."""
        behaviour["kind"] = "redirect"
        with pytest.raises(DependencyError):
            await broken.download(OUTPUTS, "x", tmp_path / "x", max_bytes=10_000)
        assert os.listdir(tmp_path) == []
        with pytest.raises(DependencyError):
            async with broken.stream(OUTPUTS, "x"):
                pass
        with pytest.raises(DependencyError):
            await broken.copy(OUTPUTS, "x", "y")
        with pytest.raises(DependencyError):
            await broken.has_bytes(OUTPUTS, "x")

    @pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP.keys())
    async def test_an_answer_that_is_no_http(self, tmp_path: Path, answer: bytes) -> None:
        async with saying(answer) as url, open_platform(settings_with(supabase_url=url)) as platform:
            storage = platform.storage
            for call in whole(storage):
                with pytest.raises(DependencyError):
                    await call
            # These take bytes as they come, packed ones too.
            if answer is not NOT_HTTP["no gzip"]:
                with pytest.raises(DependencyError):
                    await storage.download(OUTPUTS, "x", tmp_path / "x", max_bytes=10_000)
                with pytest.raises(DependencyError):
                    async with storage.stream(OUTPUTS, "x") as passing:
                        [chunk async for chunk in passing.chunks]

    async def test_a_download_that_breaks_off_leaves_nothing(
        self, broken: Storage, behaviour: dict[str, str], tmp_path: Path
    ) -> None:
        behaviour["kind"] = "cut"
        with pytest.raises(DependencyError):
            await broken.download(OUTPUTS, "x", tmp_path / "x", max_bytes=10_000)
        assert os.listdir(tmp_path) == []

    async def test_nobody_listens(self, tmp_path: Path) -> None:
        async with open_platform(settings_with()) as platform:
            with pytest.raises(DependencyError):
                await platform.storage.ping(OUTPUTS)
            with pytest.raises(DependencyError):
                await platform.storage.download(OUTPUTS, "x", tmp_path / "x", max_bytes=10)


async def test_a_wrong_key_is_refused_not_retried(local: Local, path: str) -> None:
    async with open_platform(settings_for(local, supabase_secret_key="sb_secret_" + "w" * 30)) as platform:
        with pytest.raises(StorageError):
            await platform.storage.sign_download(OUTPUTS, path, 60)


async def test_bytes_are_told_from_rows(storage: Storage, stack: Stack, db: Connection, path: str) -> None:
    await storage.upload(OUTPUTS, path, BYTES, "image/webp")
    assert await storage.has_bytes(OUTPUTS, path)
    await lose(db, stack.home.root, [path])
    assert not await storage.has_bytes(OUTPUTS, path)
    assert await storage.info(OUTPUTS, path) is not None
    assert (await storage.sign_downloads(OUTPUTS, [path], 60))[path] is not None
    assert not await storage.has_bytes(OUTPUTS, f"{uuid.uuid4()}.webp")


async def test_a_bucket_that_is_missing_tells_nothing_of_its_objects(
    storage: Storage, path: str, tmp_path: Path
) -> None:
    """Else every row of a project whose buckets were not restored would be given up."""
    assert await storage.has_bytes("no-such-bucket", path)
    with pytest.raises(StorageError) as refused:
        await storage.download("no-such-bucket", path, tmp_path / "x", max_bytes=10)
    assert type(refused.value) is StorageError

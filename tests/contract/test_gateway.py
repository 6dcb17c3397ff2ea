"""The gateway as a process: killed, restarted, without lite, without Postgres; and whose tokens it believes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from scripts.local.apps import gateway_environment
from scripts.local.home import REPOSITORY, Local, any_free_port
from scripts.local.process import Child, Command, until_ready
from scripts.local.stack import Stack
from tests.contract.conftest import make_bucket
from tests.support import PATIENCE, new_sha256

HALF = bytes(1_000_000)


class Gateway:
    """A gateway of the test's own: the shared Postgres, another directory of bytes, another lite."""

    _child: Child

    def __init__(self, local: Local, root: Path) -> None:
        self.local = local
        self.root = root / "bytes"
        self.log = root / "gateway.log"
        self.port = any_free_port()
        self.lite_port = any_free_port()
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}/storage/v1",
            headers={"apikey": local.secret_key},
            trust_env=False,
        )

    async def start(self) -> None:
        argv = [sys.executable, "-m", "scripts.local.gateway", "--port", str(self.port)]
        argv += ["--lite-port", str(self.lite_port), "--root", str(self.root)]
        env = gateway_environment(self.local)
        child = await Child.start(Command("gateway", argv, env=env, cwd=REPOSITORY), self.log)

        async def probe() -> None:
            (await self.http.get("/status")).raise_for_status()

        await until_ready(child, probe, 30)
        self._child = child

    async def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()
        await self._child.wait()

    async def stop(self) -> int | None:
        """SIGTERM; the exit status."""
        await self._child.stop()
        return self._child.returncode

    async def close(self) -> None:
        await self.http.aclose()
        await self._child.stop()

    def files(self, folder: str) -> list[Path]:
        return [path for path in (self.root / folder).rglob("*") if path.is_file()]


@pytest.fixture
async def gateway(local: Local, tmp_path: Path) -> AsyncIterator[Gateway]:
    own = Gateway(local, tmp_path)
    await own.start()
    yield own
    await own.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process's doing."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _begin_upload(
    gateway: Gateway, bucket: str, *, multipart: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the first half of an upload and stop; returns when those bytes are on disk."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    kind, prefix = "image/png", b""
    if multipart:
        kind = "multipart/form-data; boundary=x"
        prefix = (
            b'--x\r\nContent-Disposition: form-data; name=""; filename="a"\r\nContent-Type: image/png\r\n\r\n'
        )
    head = (
        f"POST /storage/v1/object/{bucket}/a.png HTTP/1.1\r\nHost: x\r\napikey: {gateway.local.secret_key}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {2 * len(HALF)}\r\n\r\n"
    )
    writer.write(head.encode() + prefix + HALF)
    await writer.drain()
    await until(lambda: any(path.stat().st_size > 500_000 for path in gateway.files("incoming")))
    return reader, writer


@pytest.mark.parametrize("multipart", [False, True], ids=["raw", "multipart"])
async def test_a_killed_gateway_leaves_no_half_object(gateway: Gateway, multipart: bool) -> None:
    bucket = await make_bucket(gateway.http, {})
    _, writer = await _begin_upload(gateway, bucket, multipart=multipart)
    await gateway.kill()
    writer.close()
    assert len(gateway.files("incoming")) == 1
    assert gateway.files("objects") == []
    await gateway.start()
    assert gateway.files("incoming") == []
    assert (await gateway.http.get(f"/object/{bucket}/a.png")).json()["statusCode"] == "404"
    listing = await gateway.http.post(f"/object/list/{bucket}", json={"prefix": ""})
    assert listing.json() == []
    again = await gateway.http.post(f"/object/{bucket}/a.png", content=HALF)
    assert again.status_code == 200


async def test_overlapping_uploads_may_both_succeed(gateway: Gateway) -> None:
    """As in the real server: permission is asked before the body, so a slow upload overwrites a later one."""
    bucket = await make_bucket(gateway.http, {})
    reader, writer = await _begin_upload(gateway, bucket, multipart=False)
    quick = await gateway.http.post(f"/object/{bucket}/a.png", content=b"quick")
    assert quick.status_code == 200
    writer.write(HALF)
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()
    assert (await gateway.http.get(f"/object/{bucket}/a.png")).content == HALF + HALF
    assert len(gateway.files("objects")) == 1


async def test_a_client_that_vanishes_leaves_nothing(gateway: Gateway) -> None:
    bucket = await make_bucket(gateway.http, {})
    _, writer = await _begin_upload(gateway, bucket, multipart=False)
    writer.transport.abort()
    await until(lambda: gateway.files("incoming") == [])
    assert (await gateway.http.get(f"/object/{bucket}/a.png")).json()["statusCode"] == "404"


async def test_bytes_without_a_row_are_swept_and_others_stay(gateway: Gateway) -> None:
    """As after a kill between the rename and the row, or between a deleted row and its bytes."""
    bucket = await make_bucket(gateway.http, {})
    await gateway.http.post(f"/object/{bucket}/a.png", content=b"kept")
    [kept] = gateway.files("objects")
    orphan = kept.with_name(new_sha256())
    orphan.write_bytes(b"orphan")
    assert await gateway.stop() == 0
    await gateway.start()
    assert gateway.files("objects") == [kept]
    assert (await gateway.http.get(f"/object/{bucket}/a.png")).content == b"kept"


async def test_replaced_and_removed_bytes_go_at_once(gateway: Gateway) -> None:
    bucket = await make_bucket(gateway.http, {})
    for body in (b"one", b"two"):
        await gateway.http.put(f"/object/{bucket}/a.png", content=body)
    assert len(gateway.files("objects")) == 1
    await gateway.http.delete(f"/object/{bucket}/a.png")
    assert gateway.files("objects") == []


TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


async def _create_resumable(gateway: Gateway, bucket: str, size: int) -> str:
    described = f"bucketName {_base64(bucket)},objectName {_base64('a.png')}"
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": described}
    created = await gateway.http.post("/upload/resumable", headers=headers)
    assert created.status_code == 201
    return created.headers["location"]


async def _finish_resumable(gateway: Gateway, bucket: str, url: str) -> None:
    """From what HEAD says to the end; the object must be HALF twice."""
    head = await gateway.http.head(url, headers=TUS)
    assert (head.status_code, head.headers["upload-offset"]) == (200, str(len(HALF)))
    offset = {"Upload-Offset": head.headers["upload-offset"]}
    last = await gateway.http.patch(url, headers={**PATCH, **offset}, content=HALF)
    assert last.status_code == 204
    assert (await gateway.http.get(f"/object/{bucket}/a.png")).content == HALF + HALF
    assert gateway.files("resumable") == []


async def test_a_resumable_upload_survives_a_kill(gateway: Gateway) -> None:
    bucket = await make_bucket(gateway.http, {})
    url = await _create_resumable(gateway, bucket, 2 * len(HALF))
    first = await gateway.http.patch(url, headers={**PATCH, "Upload-Offset": "0"}, content=HALF)
    assert first.status_code == 204
    await gateway.kill()
    await gateway.start()
    await _finish_resumable(gateway, bucket, url)


async def test_a_client_that_comes_back_takes_over_its_stalled_request(gateway: Gateway) -> None:
    bucket = await make_bucket(gateway.http, {})
    url = await _create_resumable(gateway, bucket, 2 * len(HALF))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    headers = {**PATCH, "Upload-Offset": "0", "Content-Length": str(2 * len(HALF)), "Host": "x"}
    headers["apikey"] = gateway.local.secret_key
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"PATCH {httpx.URL(url).path} HTTP/1.1\r\n{lines}\r\n".encode() + HALF)
    await until(lambda: any(path.stat().st_size == len(HALF) for path in gateway.files("resumable")))
    await _finish_resumable(gateway, bucket, url)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""  # cut off without an answer
    writer.close()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_rest_without_lite_is_503_and_comes_back(gateway: Gateway, local: Local) -> None:
    url = f"http://127.0.0.1:{gateway.port}/rest/v1/profiles"
    away = await gateway.http.get(url)
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert away.headers["access-control-allow-origin"] == "*"
    assert set(away.json()) == {"code", "message", "details", "hint"}

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"path": request.raw_path, "body": await request.text()}, status=201)

    async with _serving(echo, gateway.lite_port):
        answer = await gateway.http.post(f"{url}?select=*&a=eq.%2Fb%20c", content=b"{}")
        assert (answer.status_code, answer.json()["body"]) == (201, "{}")
        assert answer.json()["path"] == "/rest/v1/profiles?select=*&a=eq.%2Fb%20c"
        large = "x" * 3_000_000
        assert (await gateway.http.post(url, content=large)).json()["body"] == large
    assert (await gateway.http.get(url)).status_code in (502, 503)


async def test_tokens_of_a_key_set_are_believed(gateway: Gateway) -> None:
    """ES256 by the Auth server's JWKS; a key it does not name is refused."""
    named, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public = {
        **ECAlgorithm.to_jwk(named.public_key(), as_dict=True),
        "kid": "one",
        "alg": "ES256",
        "use": "sig",
    }

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": [public]})

    def bearer(key: ec.EllipticCurvePrivateKey, kid: str, seconds: int = 60) -> dict[str, str]:
        claims = {"sub": "u", "role": "authenticated", "exp": int(time.time()) + seconds}
        token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid})
        return {"Authorization": f"Bearer {token}"}

    async with _serving(keys, gateway.lite_port):
        assert (await gateway.http.get("/bucket", headers=bearer(named, "one"))).json() == []
        for headers in (bearer(other, "one"), bearer(named, "two"), bearer(named, "one", -5)):
            refused = await gateway.http.get("/bucket", headers=headers)
            assert (refused.status_code, refused.json()["error"]) == (400, "Unauthorized")


class _serving:  # noqa: N801
    """A plain server on a port, for the length of a block."""

    def __init__(self, handler: Callable[[web.Request], object], port: int) -> None:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
        self._runner = web.AppRunner(app)
        self._port = port

    async def __aenter__(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that Postgres, as another user, can reach (pytest's own cannot be)."""
    path = Path(tempfile.mkdtemp(prefix="darkroom-contract-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.chaos
async def test_storage_survives_a_restart_of_postgres(home: Path) -> None:
    async with (
        Stack(home, api_port=0, supabase_port=0, say=lambda _: None) as stack,
        httpx.AsyncClient(
            base_url=f"{stack.local.supabase_url}/storage/v1",
            headers={"apikey": stack.local.secret_key},
            trust_env=False,
        ) as http,
    ):
        bucket = await make_bucket(http, {})
        urls = [f"/object/{bucket}/{number}.png" for number in range(20)]
        await asyncio.gather(*(http.post(url, content=b"x") for url in urls))  # the whole pool is in use
        assert stack._postgres is not None
        await stack._postgres.stop()
        away = await http.get(urls[0])
        assert (away.status_code, away.json()["error"]) == (503, "DatabaseUnavailable")
        await stack._postgres.start()
        answers = await asyncio.gather(*(http.get(url) for url in urls))
        assert {answer.content for answer in answers} == {b"x"}

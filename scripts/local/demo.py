"""A client of Darkroom: puts one photograph through the main job, as a frontend does, and shows its progress."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pillow_heif
from PIL import Image, UnidentifiedImageError
from rich.progress import BarColumn, Progress, TaskID, TextColumn

SAMPLE = Path(__file__).with_name("sample.jpg")
SAMPLE_OP = "bgremove-v2+flatten-v1:color-white+shadow-v1"
_CHUNK = 64 * 1024
_EXTENSIONS = {"image/webp": ".webp", "image/png": ".png", "image/jpeg": ".jpg", "image/avif": ".avif"}
_TERMINAL = {"done", "error", "expired", "canceled"}
_PATIENCE = 300.0


class DemoError(Exception):
    """A step failed; the text says which one and why."""


@dataclass(frozen=True)
class Photo:
    """What a client knows of a file before it asks: the bytes and their header, nothing decoded."""

    name: str
    data: bytes
    width: int
    height: int
    content_type: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Photo:
        """DemoError when this client cannot read the header."""
        pillow_heif.register_heif_opener()
        Image.init()
        try:
            with Image.open(io.BytesIO(data)) as image:
                kind = Image.MIME.get(image.format or "", "application/octet-stream")
                return cls(name, data, image.width, image.height, kind)
        except Exception as error:
            reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error
            raise DemoError(f"{name} is not a picture this client can read: {reason}") from error


@dataclass
class Pass:
    """One way through: `timings` in ms by step and in total (from the first byte hashed to the result's URL)."""

    cached: bool
    output_urls: list[str]
    thumbnail_url: str
    output: dict[str, Any]
    job: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)


def stamped_sample() -> bytes:
    """The sample photo with the time in a JPEG comment: a new file to the cache, the same pixels."""
    data = SAMPLE.read_bytes()
    words = f"Darkroom sample, {time.time_ns()}".encode()
    return data[:2] + b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words + data[2:]


class Demo:
    """A session with the API at `api_url`, a user's where there is a `token`; `progress` shows the bars."""

    def __init__(
        self, client: httpx.AsyncClient, api_url: str, progress: Progress, token: str | None = None
    ) -> None:
        self._client = client
        self._api = api_url
        self._progress = progress
        self._bearer = {"Authorization": f"Bearer {token}"} if token else {}

    async def put_through(self, photo: Photo, op_key: str, **wanted: Any) -> Pass:
        """Hash, intake (with the fields of `wanted` as well), upload, wait; DemoError when any step fails."""
        clock = _Clock()
        sha256 = await self._hash(photo)
        clock.lap("hash")
        answer = await self._intake(photo, sha256, op_key, wanted)
        clock.lap("intake")
        if answer["cached"]:
            return Pass(True, **_result(answer), job=answer, timings=clock.finish())
        if answer["upload_url"]:
            await self._upload(photo, answer["upload_url"])
            await self.call("POST", f"/jobs/{answer['job_id']}/uploaded")
            clock.lap("upload")
        job = await self.follow(answer["job_id"])
        clock.lap("process")
        return Pass(False, **_result(job), job=job, timings=clock.finish())

    async def download(self, result: Pass, directory: Path) -> list[Path]:
        """Write output.* and thumb.webp; DemoError when the bytes are not those the job announced."""
        answer = _checked(await self._client.get(result.output_urls[0]), "download of the output")
        if hashlib.sha256(answer.content).hexdigest() != result.output["sha256"]:
            raise DemoError("download of the output: its sha256 differs from the one announced")
        thumb = _checked(await self._client.get(result.thumbnail_url), "download of the thumbnail")
        kind = answer.headers["content-type"].partition(";")[0]
        extension = _EXTENSIONS.get(kind, ".bin")
        return [_write(directory, f"output{extension}", answer), _write(directory, "thumb.webp", thumb)]

    async def _hash(self, photo: Photo) -> str:
        size = len(photo.data)
        note = f"{photo.width}x{photo.height}, {size:,} bytes"
        task = self._progress.add_task("hash", total=size, note=note)
        digest = hashlib.sha256()
        for start in range(0, size, 16 * _CHUNK):
            part = photo.data[start : start + 16 * _CHUNK]
            digest.update(part)
            self._progress.update(task, advance=len(part))
            await asyncio.sleep(0)
        self._progress.update(task, note=f"{note}, sha256 {digest.hexdigest()[:12]}…")
        return digest.hexdigest()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer of one call of the API, None when it is empty; DemoError when it is refused."""
        answer = await self._client.request(method, f"{self._api}{path}", json=body, headers=self._bearer)
        _checked(answer, f"{method} {path}")
        return answer.json() if answer.content else None

    async def _intake(self, photo: Photo, sha256: str, op_key: str, wanted: dict[str, Any]) -> dict[str, Any]:
        task = self._progress.add_task("intake", total=1, note=op_key)
        question = {
            "sha256": sha256,
            "filename": photo.name,
            "size": len(photo.data),
            "content_type": photo.content_type,
            "width": photo.width,
            "height": photo.height,
            "op_key": op_key,
            **wanted,
        }
        body: dict[str, Any] = await self.call("POST", "/intake", question)
        note = "in the cache" if body["cached"] else f"not in the cache: job {body['job_id'][:8]}…"
        self._progress.update(task, completed=1, note=note)
        return body

    async def _upload(self, photo: Photo, url: str) -> None:
        task = self._progress.add_task(
            "upload", total=len(photo.data), note="presigned PUT, straight to Storage"
        )

        async def body() -> AsyncIterator[bytes]:
            for start in range(0, len(photo.data), _CHUNK):
                part = photo.data[start : start + _CHUNK]
                yield part
                self._progress.update(task, advance=len(part))

        headers = {"content-type": photo.content_type, "content-length": str(len(photo.data))}
        _checked(await self._client.put(url, content=body(), headers=headers), "upload")

    async def follow(self, job_id: str) -> dict[str, Any]:
        """The job's terminal document, by server-sent events, or by polling when the stream breaks."""
        task = self._progress.add_task("process", total=1.0, note="waiting")
        try:
            async with asyncio.timeout(_PATIENCE):
                job = await self._listen(job_id, task)
                while job["status"] not in _TERMINAL:
                    job = await self.call("GET", f"/jobs/{job_id}")
                    self._show(task, job)
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise DemoError(f"job {job_id} was not finished after {_PATIENCE:.0f} s") from None
        if job["status"] != "done":
            problem = job.get("error") or {}
            raise DemoError(f"job {job_id} ended as {job['status']}: {_describe(problem)}")
        return job

    async def _listen(self, job_id: str, task: TaskID) -> dict[str, Any]:
        job: dict[str, Any] = {"status": "unknown"}
        headers = {"accept": "text/event-stream", **self._bearer}
        with contextlib.suppress(httpx.TransportError):
            async with self._client.stream(
                "GET", f"{self._api}/jobs/{job_id}/events", headers=headers
            ) as stream:
                if stream.status_code != httpx.codes.OK:
                    return job
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        job = json.loads(line.removeprefix("data:"))
                        self._show(task, job)
                        if job["status"] in _TERMINAL:
                            break
        return job

    def _show(self, task: TaskID, job: dict[str, Any]) -> None:
        note = str(job["status"])
        if job.get("ahead") is not None:
            note += f", {job['ahead']} ahead"
        if job.get("step"):
            note += f": {job['step']}"
        done = 1.0 if job["status"] == "done" else float(job.get("progress") or 0)
        self._progress.update(task, completed=done, note=note)


class _Clock:
    """Milliseconds between laps."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = round((now - self._last) * 1000, 2)
        self._last = now

    def finish(self) -> dict[str, float]:
        return {**self._laps, "total": round((self._last - self._start) * 1000, 2)}


def progress_bars() -> Progress:
    """Bars with a free text at the end."""
    return Progress(
        TextColumn("  {task.description:<8}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[note]}"),
    )


def _write(directory: Path, name: str, answer: httpx.Response) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(answer.content)
    return path


def _result(document: dict[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("output_urls", "thumbnail_url", "output")}


def _checked(answer: httpx.Response, step: str) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        detail = _describe(answer.json())
    except ValueError:
        detail = answer.text[:300]
    raise DemoError(f"{step}: HTTP {answer.status_code}: {detail}")


def _describe(problem: dict[str, Any]) -> str:
    """A problem document, or Storage's error body, in one line."""
    words = [problem.get("code") or problem.get("error")]
    words += [problem.get("detail") or problem.get("message") or problem.get("title")]
    return " — ".join(str(word) for word in words if word) or json.dumps(problem)[:300]

"""The main job as a client does it over HTTP: intake, upload, report, listen."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

import httpx
import orjson

from tests.photos import Photo

TERMINAL = {"done", "error", "expired", "canceled"}
STREAMS = 10


async def overwrite(url: str, token: str, bucket: str, path: str, data: bytes) -> None:
    """Send `data` as a signed resumable upload, whether or not something is there. `url` ends in /resumable/sign."""
    described = {"bucketName": bucket, "objectName": path, "contentType": "image/jpeg"}
    metadata = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in described.items())
    headers = {"Tus-Resumable": "1.0.0", "x-signature": token}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        created = await http.post(url, headers={"Upload-Length": str(len(data)), "Upload-Metadata": metadata})
        assert created.status_code == 201, created.text
        sent = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        answer = await http.patch(created.headers["location"], headers=sent, content=data)
        assert answer.status_code == 204, answer.text


class Client:
    """One caller of the API; `token` makes it a signed-in user."""

    def __init__(self, api_url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(base_url=api_url, headers=headers, timeout=60, trust_env=False)
        self.plain = httpx.AsyncClient(timeout=60, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.http.aclose()
        await self.plain.aclose()

    async def intake(self, photo: Photo, op_key: str, **changed: Any) -> dict[str, Any]:
        """The answer to an intake that is accepted."""
        answer = await self.http.post("/intake", json=photo.claim(op_key, **changed))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def put(
        self, url: str, data: bytes | AsyncIterator[bytes], content_type: str = "image/jpeg"
    ) -> httpx.Response:
        """Raw bytes to a presigned URL; an iterator is sent in chunks, without a length."""
        return await self.plain.put(url, content=data, headers={"Content-Type": content_type})

    async def upload(self, answer: dict[str, Any], photo: Photo, data: bytes | None = None) -> None:
        """PUT the photo (or other bytes in its place) and report it."""
        sent = await self.put(answer["upload_url"], photo.data if data is None else data, photo.content_type)
        assert sent.status_code == 200, sent.text
        reported = await self.http.post(f"/jobs/{answer['job_id']}/uploaded")
        assert reported.status_code == 202, reported.text

    async def overwrite(self, answer: dict[str, Any], data: bytes) -> None:
        """Other bytes in place of what was uploaded: a signed token does so by TUS as often as it is used."""
        await overwrite(
            answer["resumable_url"],
            answer["upload_token"],
            answer["upload_bucket"],
            answer["upload_path"],
            data,
        )

    async def events(
        self, job_id: str, last_event_id: int | None = None
    ) -> AsyncIterator[tuple[str, str | None, dict[str, Any]]]:
        """(event, id, document) as they come."""
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        async with self.http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if not line:
                    if "data" in fields:
                        yield fields["event"], fields.get("id"), orjson.loads(fields["data"])
                    fields = {}
                elif not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value

    async def wait(self, job_id: str) -> dict[str, Any]:
        """Listen until the job has ended; its last document. A stream that ends sooner is opened again from the last
        event it told,
        as an EventSource does: a server ends one whenever it cannot go on, while its database is migrated, say."""
        last: int | None = None
        for _ in range(STREAMS):
            with suppress(httpx.RemoteProtocolError):
                async for _event, event_id, document in self.events(job_id, last):
                    if document["status"] in TERMINAL:
                        return document
                    last = last if event_id is None else int(event_id)
        raise AssertionError(f"{STREAMS} streams ended before the job did")

    async def process(self, photo: Photo, op_key: str, **changed: Any) -> dict[str, Any]:
        """The whole main job; the answer of a hit, or the document of a job that has ended."""
        answer = await self.intake(photo, op_key, **changed)
        if answer["cached"]:
            return answer
        if answer["upload_url"] is not None:
            await self.upload(answer, photo)
        return await self.wait(answer["job_id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def download(self, url: str) -> httpx.Response:
        return await self.plain.get(url)

"""A signed upload can be overwritten while its token lives, at any step: what was verified is what is used and kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.intake.store import IntakeParameters, Intakes
from service.jobs.store import ClaimedJob, JobRow, Jobs
from service.library.store import DueOriginal
from service.platform.resources import Platform
from service.platform.storage import SignedUpload
from tests.client import Client, overwrite
from tests.gated_pixels import GatedPool, wait_for
from tests.jobs import ask, finished, new_queue
from tests.library.people import Connection, Person, objects, person
from tests.photos import Photo, assert_looks_like, photo
from tests.support import User
from workers.cleanup import CleanupReport, cleanup, purge
from workers.context import Slots, WorkerContext
from workers.originals import fetch_original, store_original
from workers.run_job import run_job

OP = "resize-v1:width-64"
OTHER_OP = "resize-v1:width-32"
UPLOADS = "uploads-ephemeral"
Overwrite = Callable[[SignedUpload, bytes], Awaitable[None]]


@dataclass
class Bench:
    """A worker of the test's own, whose pixels wait at a gate."""

    platform: Platform
    pixels: GatedPool
    queue: str

    async def upload(self, picture: Photo, op_key: str = OP, user_id: UUID | None = None) -> SignedUpload:
        """A job of this queue with its upload in place, and the token that put it there."""
        result = await ask(self.platform, picture, op_key, self.queue, user_id=user_id)
        assert result.job is not None
        signed = await self.platform.storage.sign_upload(UPLOADS, result.job.upload_path)
        await self.platform.storage.upload(
            UPLOADS, result.job.upload_path, picture.data, picture.content_type
        )
        return signed

    async def claim(self) -> ClaimedJob:
        job = await Jobs(self.platform.database).claim_next(self.queue, "test", 30)
        assert job is not None
        return job

    async def run(self, job: ClaimedJob, meanwhile: Callable[[], Awaitable[None]] | None = None) -> JobRow:
        """Do the job; `meanwhile` happens after its bytes were read and before they are processed."""
        running = asyncio.create_task(
            run_job(WorkerContext(self.platform, self.pixels, Slots(1), "test"), job)
        )
        gate = await self.pixels.workdirs.get()
        if meanwhile is not None:
            await asyncio.to_thread(wait_for, gate / "entered")
            await meanwhile()
        (gate / "go").touch()
        await running
        return await finished(self.platform, job.id, job.user_id)

    async def refused(self, job: ClaimedJob) -> str:
        """The code of a job that ends before its pixels."""
        await run_job(WorkerContext(self.platform, self.pixels, Slots(1), "test"), job)
        row = await finished(self.platform, job.id, job.user_id)
        assert row.error is not None
        return str(row.error["code"])


@pytest.fixture
async def bench(platform: Platform, model_server: None) -> AsyncIterator[Bench]:
    async with GatedPool(platform) as pixels:
        yield Bench(platform, pixels, new_queue())


@pytest.fixture
async def library(local: Local, api: Child, worker: Child, db: Connection) -> AsyncIterator[Person]:
    """A user with a library."""
    async with person(local, api.url, db, plan="pro") as paid:
        yield paid


@pytest.fixture
def overwriting(platform: Platform) -> Overwrite:
    """Other bytes in place of an upload, by its token."""
    url = f"{platform.settings.supabase_url}/storage/v1/upload/resumable/sign"

    async def overwriting(signed: SignedUpload, data: bytes) -> None:
        await overwrite(url, signed.token, UPLOADS, signed.path, data)

    return overwriting


async def _output(platform: Platform, row: JobRow, tmp_path: Path) -> bytes:
    assert row.output is not None, row
    got = await platform.storage.download(
        row.output.bucket, row.output.path, tmp_path / "output", max_bytes=1_000_000
    )
    assert got.sha256 == row.output.sha256
    return (tmp_path / "output").read_bytes()


async def _marked(db: Connection, path: str) -> list[tuple[str, bool]]:
    """(reason, closed) of the tombstones of an upload."""
    rows = await db.fetch(
        "select reason, purged_at is not null from public.tombstones where path = $1 order by id", path
    )
    return [(row[0], row[1]) for row in rows]


# -- the upload of a job of its own


async def test_before_the_worker_looks(bench: Bench, overwriting: Overwrite) -> None:
    """Nothing was verified yet: the bytes that are there are not what was announced."""
    signed = await bench.upload(photo())
    await overwriting(signed, photo().data)
    assert await bench.refused(await bench.claim()) in {"size_mismatch", "sha256_mismatch"}


async def test_with_the_same_bytes(bench: Bench, overwriting: Overwrite, tmp_path: Path) -> None:
    """As a client does that sends again what it thinks lost."""
    picture = photo()
    signed = await bench.upload(picture)
    await overwriting(signed, picture.data)
    row = await bench.run(await bench.claim(), lambda: overwriting(signed, picture.data))
    assert row.status == "done"
    assert_looks_like(picture, await _output(bench.platform, row, tmp_path))


async def test_while_the_job_computes(
    bench: Bench, overwriting: Overwrite, db: Connection, tmp_path: Path
) -> None:
    """The bytes are read once: the child works on a file that was hashed while it arrived. The others are removed."""
    picture = photo()
    signed = await bench.upload(picture)
    row = await bench.run(await bench.claim(), lambda: overwriting(signed, photo().data))
    assert row.status == "done"
    assert_looks_like(picture, await _output(bench.platform, row, tmp_path))
    await cleanup(bench.platform)
    assert await bench.platform.storage.info(UPLOADS, signed.path) is None
    assert await _marked(db, signed.path) == [("expired", True)]


async def test_while_the_job_computes_and_dies(
    bench: Bench, overwriting: Overwrite, db: Connection, tmp_path: Path
) -> None:
    """The next attempt verifies anew: overwritten with what was announced, the job goes on."""
    picture = photo()
    signed = await bench.upload(picture)
    job = await bench.claim()
    await overwriting(signed, picture.data)
    await Jobs(bench.platform.database).snooze(job, 0)
    row = await bench.run(await bench.claim())
    assert row.status == "done"
    assert_looks_like(picture, await _output(bench.platform, row, tmp_path))
    await cleanup(bench.platform)
    assert await bench.platform.storage.info(UPLOADS, signed.path) is None


async def test_after_the_job(bench: Bench, overwriting: Overwrite, db: Connection, user: User) -> None:
    """The upload is marked at once, twice where it comes twice, and a re-run asks for another."""
    picture = photo()
    signed = await bench.upload(picture, user_id=user.id)
    row = await bench.run(await bench.claim())
    assert row.status == "done"
    events = "select count(*) from public.job_events where job_id = $1"
    before = await db.fetchval(events, row.job_id)
    for data in (photo().data, photo().data):
        await overwriting(signed, data)
    assert await _marked(db, signed.path) == [("overwritten", False)]
    after = await Jobs(bench.platform.database).get_job(row.job_id, user.id)
    assert after is not None
    assert (after.status, after.output) == (row.status, row.output)
    assert await db.fetchval(events, row.job_id) == before
    rerun = await ask(bench.platform, picture, OTHER_OP, bench.queue, user_id=user.id)
    assert rerun.job is not None
    assert rerun.job.status == "awaiting_upload"
    await purge(bench.platform, CleanupReport())
    assert await bench.platform.storage.info(UPLOADS, signed.path) is None
    await overwriting(signed, photo().data)  # a new object now: an insert
    await purge(bench.platform, CleanupReport())
    assert await bench.platform.storage.info(UPLOADS, signed.path) is None
    assert await _marked(db, signed.path) == [("overwritten", True), ("unexpected_upload", True)]


@pytest.mark.parametrize("ending", ["error", "canceled"])
async def test_after_a_job_that_was_not_done(
    bench: Bench, overwriting: Overwrite, db: Connection, user: User, ending: str
) -> None:
    picture = photo()
    signed = await bench.upload(picture, user_id=user.id)
    job = await bench.claim()
    if ending == "error":
        await Jobs(bench.platform.database).fail_job(
            job, {"code": "op_failed"}, retry_seconds=None, drop_upload=False
        )
    else:
        assert await Jobs(bench.platform.database).cancel_job(job.id, user.id) is not None
    await overwriting(signed, photo().data)
    await purge(bench.platform, CleanupReport())
    assert await bench.platform.storage.info(UPLOADS, signed.path) is None
    row = await db.fetchrow("select status, upload_expires_at from public.jobs where id = $1", job.id)
    assert row is not None
    assert (row["status"], row["upload_expires_at"]) == (ending, None)


async def test_a_slow_put_that_ends_after_the_job(client: Client, db: Connection, platform: Platform) -> None:
    """Two PUTs on one token, let in at the same time: the later one replaces what was verified, and is removed."""
    picture = photo()
    answer = await client.intake(picture, OP)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(250_000)
        begun.set()  # more than the sockets hold: Storage has let it in and is reading
        await go_on.wait()
        yield b"the end"

    slow = asyncio.create_task(client.put(answer["upload_url"], slowly()))
    await begun.wait()
    await client.upload(answer, picture)
    done = await client.wait(answer["job_id"])
    go_on.set()
    assert (await slow).status_code == 200
    await purge(platform, CleanupReport())
    assert await platform.storage.info(UPLOADS, answer["upload_path"]) is None
    kept = "select upload_expires_at from public.jobs where id = $1::uuid"
    assert await db.fetchval(kept, answer["job_id"]) is None
    assert_looks_like(picture, (await client.download(done["output_urls"][0])).content)


async def test_a_chunked_put_over_every_limit(bench: Bench, db: Connection) -> None:
    """No limit of the bucket stops it. The worker reads no byte over the claim, and removes the object with the job."""
    picture = photo()
    result = await ask(bench.platform, picture, OP, bench.queue)
    assert result.job is not None
    signed = await bench.platform.storage.sign_upload(UPLOADS, result.job.upload_path)

    async def chunks() -> AsyncIterator[bytes]:
        yield picture.data
        for _ in range(30):
            yield bytes(1_000_000)

    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        sent = await http.put(signed.url, content=chunks(), headers={"Content-Type": "image/jpeg"})
    assert sent.status_code == 200, "Storage holds a chunked body to no limit"
    assert await bench.refused(await bench.claim()) == "size_mismatch"
    assert await bench.platform.storage.info(UPLOADS, signed.path) is None
    await purge(bench.platform, CleanupReport())
    assert await _marked(db, signed.path) == [("error", True)]


# -- an upload that a re-run reads again


async def test_overwritten_before_a_re_run_is_asked_for(user_client: Client, platform: Platform) -> None:
    """Hits serve what was verified; a re-run asks for an upload."""
    picture = photo()
    asked = await user_client.intake(picture, OP)
    await user_client.upload(asked, picture)
    done = await user_client.wait(asked["job_id"])
    await user_client.overwrite(asked, photo().data)
    hit = await user_client.intake(picture, OP)
    assert (hit["cached"], hit["output"]) == (True, done["output"])
    rerun = await user_client.intake(picture, OTHER_OP)
    assert rerun["upload_url"] is not None
    await user_client.upload(rerun, picture)
    again = await user_client.wait(rerun["job_id"])
    assert again["status"] == "done"
    assert_looks_like(picture, (await user_client.download(again["output_urls"][0])).content)


async def test_removed_and_put_again_before_a_re_run(user_client: Client, platform: Platform) -> None:
    """The token works again when the name is free; by then the bytes are nobody's."""
    picture = photo()
    asked = await user_client.intake(picture, OP)
    await user_client.upload(asked, picture)
    await user_client.wait(asked["job_id"])
    await platform.storage.remove(UPLOADS, [asked["upload_path"]])
    missing = await user_client.intake(picture, "resize-v1:width-33")
    assert missing["upload_url"] is not None
    assert (await user_client.put(asked["upload_url"], photo().data)).status_code == 200
    rerun = await user_client.intake(picture, OTHER_OP)
    assert rerun["upload_url"] is not None


async def test_overwritten_before_the_worker_of_a_re_run_looks(
    bench: Bench, overwriting: Overwrite, user: User
) -> None:
    """It ends as one whose original is missing, and the next intake asks for an upload."""
    picture = photo()
    signed = await bench.upload(picture, user_id=user.id)
    assert (await bench.run(await bench.claim())).status == "done"
    rerun = await ask(bench.platform, picture, OTHER_OP, bench.queue, user_id=user.id)
    assert rerun.job is not None
    assert rerun.job.status == "queued"
    await overwriting(signed, photo().data)
    assert await bench.refused(await bench.claim()) == "original_missing"
    again = await ask(bench.platform, picture, OTHER_OP, bench.queue, user_id=user.id)
    assert again.job is not None
    assert again.job.status == "awaiting_upload"


async def test_overwritten_while_a_re_run_computes(
    bench: Bench, overwriting: Overwrite, user: User, tmp_path: Path
) -> None:
    picture = photo()
    signed = await bench.upload(picture, user_id=user.id)
    assert (await bench.run(await bench.claim())).status == "done"
    rerun = await ask(bench.platform, picture, OTHER_OP, bench.queue, user_id=user.id)
    assert rerun.job is not None
    row = await bench.run(await bench.claim(), lambda: overwriting(signed, photo().data))
    assert row.status == "done"
    assert_looks_like(picture, await _output(bench.platform, row, tmp_path))


async def test_a_re_run_with_another_size_is_a_new_upload(bench: Bench, user: User) -> None:
    """The claim is wrong, not the bytes: it must not cost the upload that others read."""
    picture = photo()
    await bench.upload(picture, user_id=user.id)
    assert (await bench.run(await bench.claim())).status == "done"
    longer = Photo(picture.data + b"more", picture.width, picture.height, picture.content_type)
    claim = await Intakes(bench.platform.database).intake(
        IntakeParameters(
            user_id=user.id,
            sha256=picture.sha256,
            filename="photo",
            content_type="image/jpeg",
            size=len(longer.data),
            width=picture.width,
            height=picture.height,
            op_key=OTHER_OP,
            cacheable=True,
            price=0,
            queue=bench.queue,
            wants_persist=False,
            await_seconds=60,
            upload_seconds=86_400,
            output_seconds=86_400,
            request_id=None,
        )
    )
    assert claim.job is not None
    assert claim.job.status == "awaiting_upload"


# -- what is kept


async def test_the_original_of_a_persistent_job_is_what_was_verified(
    library: Person, bench: Bench, overwriting: Overwrite, tmp_path: Path
) -> None:
    """The library's original is stored from the bytes on disk, not copied inside Storage."""
    picture = photo()
    signed = await bench.upload(picture, user_id=library.id)
    await library.db.execute("update public.jobs set wants_persist = true where user_id = $1", library.id)
    row = await bench.run(await bench.claim(), lambda: overwriting(signed, photo().data))
    assert row.status == "done"
    image = await library.image()
    assert image["original_path"] is not None
    got = await bench.platform.storage.download(
        "user-library", image["original_path"], tmp_path / "original", max_bytes=1_000_000
    )
    assert got.sha256 == picture.sha256


async def test_overwritten_before_a_promotion(library: Person, platform: Platform) -> None:
    """The output moves into the library; there is no original to be had."""
    picture = photo()
    asked = await library.intake(picture, OP)
    await library.upload(asked, picture)
    done = await library.wait(asked["job_id"])
    await library.overwrite(asked, photo().data)
    promoted = await library.say("POST", "/outputs/promote", {"job_id": done["job_id"]})
    assert_looks_like(picture, (await library.download(promoted["url"])).content)
    image = await library.image()
    assert (image["original_due_at"], image["original_path"]) == (None, None)
    asked = await library.intake(picture, OTHER_OP, wants_persist=True)
    await library.upload(asked, picture)
    assert (await library.wait(asked["job_id"]))["status"] == "done"
    document = await library.say("GET", f"/images/{image['id']}")
    assert (await library.download(document["original_url"])).content == picture.data


async def test_overwritten_between_a_promotion_and_the_fetch_of_its_original(
    library: Person, platform: Platform
) -> None:
    """A worker has been told where the original is, and finds other bytes there: it keeps none."""
    picture = photo()
    asked = await library.intake(picture, OP)
    await library.upload(asked, picture)
    await library.wait(asked["job_id"])
    image = await library.image()
    due = DueOriginal(
        image_id=image["id"],
        user_id=library.id,
        owner_id=library.id,
        sha256=picture.sha256,
        size=len(picture.data),
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        upload_path=asked["upload_path"],
    )
    await library.overwrite(asked, photo().data)
    assert not await fetch_original(platform, due)
    assert (await library.image())["original_path"] is None
    assert await objects(library.db, f"{library.id}/{image['id']}/original.jpg") == set()


async def test_an_original_is_stored_over_what_else_lies_there(
    platform: Platform, user: User, tmp_path: Path
) -> None:
    """A name that exists is believed only when its bytes are the same."""
    picture, image = photo(), photo().sha256[:8]
    file = tmp_path / "original"
    file.write_bytes(picture.data)
    key = f"{user.id}/{image}/original.jpg"
    for before in (photo().data, picture.data + b"more", picture.data):
        await platform.storage.remove("user-library", [key])
        await platform.storage.upload("user-library", key, before, "image/jpeg")
        assert await store_original(platform, user.id, image, file, "image/jpeg") == key
        got = await platform.storage.download("user-library", key, tmp_path / "got", max_bytes=1_000_000)
        assert got.sha256 == picture.sha256
    await platform.storage.remove("user-library", [key])

"""Blocked hashes: refused at the door and at the worker, and what existed of them is gone for everybody."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
import pytest
import redis.asyncio
from PIL import Image

from scripts.local.home import Local
from scripts.local.process import Child
from service.cache.hot_answers import hit_key, remember
from service.cache.store import cache_key
from service.intake.schemas import IntakeRequest
from service.intake.store import Intakes
from service.jobs.store import Jobs
from service.library.promote import promote
from service.library.store import DueOriginal
from service.moderation.blocking import block, unblock
from service.moderation.errors import refused
from service.moderation.moderators import BlockedHashes, Moderators
from service.moderation.port import Moderator, Refusal, Submission
from service.moderation.store import Safety
from service.platform.database import OutputGone
from service.platform.errors import ProblemError
from service.platform.resources import Platform
from tests.client import Client
from tests.jobs import ask, finished, new_queue, queue_job
from tests.library.people import person
from tests.moderation.judging import judged_by
from tests.photos import Photo, photo
from tests.support import PATIENCE, User, new_sha256
from workers.cleanup import CleanupReport, purge
from workers.context import Slots, WorkerContext
from workers.imaging.pool import PixelPool
from workers.originals import fetch_original
from workers.run_job import run_job

pytestmark = pytest.mark.usefixtures("model_server")
OP = "resize-v1:width-16"
Db: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def _block(platform: Platform, sha256: str, category: str = "test") -> None:
    done = await block(platform, sha256, category=category, reason="because", by="tests")
    assert done.forgotten


async def _refused(client: Client, picture: Photo, category: str = "test") -> None:
    answer = await client.http.post("/intake", json=picture.claim(OP))
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["category"]) == (403, "refused", category), problem
    assert (problem["retryable"], problem["charged"]) == (False, 0)
    assert "because" not in answer.text


async def test_a_blocked_hash_is_refused_at_the_door(
    client: Client, user_client: Client, platform: Platform
) -> None:
    picture = photo()
    await _block(platform, picture.sha256)
    await _refused(client, picture)
    await _refused(user_client, picture)
    assert (await client.intake(photo(), OP))["cached"] is False


async def test_blocking_takes_away_what_everybody_has(
    client: Client, user_client: Client, platform: Platform, db: Db, user: User
) -> None:
    picture = photo()
    done = await user_client.process(picture, OP)
    copied = await client.process(picture, OP)
    for caller in (client, user_client):
        assert (await caller.intake(picture, OP))["cached"] is True  # by now both are answered by Redis
    for owner in (None, user.id):
        assert await platform.redis.exists(hit_key(cache_key(picture.sha256, OP), owner)) == 1

    await _block(platform, picture.sha256)
    await _refused(client, picture)
    await _refused(user_client, picture)
    for owner in (None, user.id):
        assert await platform.redis.exists(hit_key(cache_key(picture.sha256, OP), owner)) == 0
    for caller, job in ((user_client, done), (client, copied)):
        document = await caller.job(job["job_id"])
        assert (document["output"], document["output_urls"]) == (None, [])
    await purge(platform, CleanupReport())
    for url in (done["output_urls"][0], copied["output_urls"][0], done["thumbnail_url"]):
        assert (await client.download(url)).status_code == 400
    audit = await db.fetchrow("select * from audit_log where subject = $1", picture.sha256)
    assert audit is not None
    data = json.loads(audit["data"]) if isinstance(audit["data"], str) else audit["data"]
    assert (audit["action"], data["outputs"], data["by"]) == ("hash.block", 2, "tests")
    assert data["uploads"] == 2  # a digest gives nobody what another one has: both have sent the bytes


async def test_an_output_can_be_blocked_by_its_own_hash(client: Client, platform: Platform) -> None:
    picture = photo()
    done = await client.process(picture, OP)
    await _block(platform, done["output"]["sha256"])
    assert (await client.job(done["job_id"]))["output"] is None
    again = await client.process(picture, OP)
    assert (again["status"], again["error"]["code"], again["error"]["category"]) == (
        "error",
        "refused",
        "test",
    )


async def test_unblocking(client: Client, platform: Platform, db: Db) -> None:
    picture = photo()
    await _block(platform, picture.sha256)
    await _block(platform, picture.sha256, "other")  # the latest word counts
    await _refused(client, picture, "other")
    assert await unblock(platform, picture.sha256, reason="a mistake", by="tests") is True
    assert await unblock(platform, picture.sha256, reason="a mistake", by="tests") is False
    assert (await client.process(picture, OP))["status"] == "done"
    assert (await client.intake(picture, OP))["cached"] is True
    actions = await db.fetch("select action from audit_log where subject = $1 order by id", picture.sha256)
    assert [row["action"] for row in actions] == ["hash.block", "hash.block", "hash.unblock"]


async def test_an_answer_that_was_on_its_way_is_not_kept(
    platform: Platform, redis_client: redis.asyncio.Redis
) -> None:
    """An intake looks up, the hash is blocked and forgotten, and only then the intake remembers its answer."""
    sha256, other = new_sha256(), new_sha256()
    await _block(platform, sha256)
    for digest, kept in ((sha256, 0), (other, 1)):
        key = hit_key(cache_key(digest, OP), None)
        claim = IntakeRequest(sha256=digest, filename="x", size=1, width=1, height=1, op_key=OP)
        secret = platform.settings.secret
        await remember(platform.redis, secret, key, b"{}", claim=claim, url_seconds=60, expires_at=None)
        assert await redis_client.exists(key) == kept


async def test_a_job_that_waits_is_refused_by_its_worker(platform: Platform, db: Db) -> None:
    picture, queue = photo(), new_queue()
    job_id = await queue_job(platform, picture, OP, queue)
    await _block(platform, picture.sha256)
    row = await _work(platform, queue, BlockedHashes(Safety(platform.database)))
    assert row == ("error", "refused", "test")
    final = await finished(platform, job_id)
    assert (final.charged, final.output) == (0, None)
    gone = "select count(*) from tombstones where bucket = 'uploads-ephemeral' and path = $1"
    assert await db.fetchval(gone, final.upload_path) == 1


async def _work(platform: Platform, queue: str, *moderators: Moderator) -> tuple[str, str, str | None]:
    job = await Jobs(platform.database).claim_next(queue, "test", 30)
    assert job is not None
    async with PixelPool(workers=1, models=tuple(platform.models.values())) as pixels:
        judged = judged_by(platform, *moderators)
        await run_job(WorkerContext(judged, pixels, Slots(1), "test"), job)
    row = await Jobs(platform.database).get_job(job.id, job.user_id)
    assert row is not None
    error = row.error or {}
    return row.status, str(error.get("code")), error.get("category")


async def test_a_job_without_moderators_cannot_record_blocked_bytes_either(platform: Platform) -> None:
    """The last word is the transaction's that writes the output."""
    picture, queue = photo(), new_queue()
    await queue_job(platform, picture, OP, queue)
    await _block(platform, picture.sha256)
    assert await _work(platform, queue) == ("error", "refused", "test")


async def test_blocking_and_recording_exclude_each_other(local_pair: tuple[Db, Db]) -> None:
    """A block that meets an output being recorded waits for it, and then takes it away."""
    recording, blocking = local_pair
    sha256 = new_sha256()
    transaction = recording.transaction()
    await transaction.start()
    await recording.execute("select private.refuse_blocked_for_good(array[$1])", sha256)
    pid = await blocking.fetchval("select pg_backend_pid()")
    waiting = asyncio.create_task(
        blocking.execute("select public.block_hash($1, 'test', '', 'tests')", sha256)
    )
    held = "select count(*) from pg_locks where pid = $1 and not granted"
    async with asyncio.timeout(PATIENCE):
        while await recording.fetchval(held, pid) == 0:
            pass  # each look is a round trip
    assert not waiting.done()
    await transaction.commit()
    await waiting
    with pytest.raises(asyncpg.PostgresError, match="refused"):
        await recording.execute("select private.refuse_blocked_for_good(array[$1])", sha256)


@pytest.fixture
async def local_pair(local: Local) -> AsyncIterator[tuple[Db, Db]]:
    first, second = await asyncpg.connect(local.database_url), await asyncpg.connect(local.database_url)
    yield first, second
    await first.close()
    await second.close()


@dataclass
class Darkness:
    """A moderator of our own: refuses pictures that are nearly black, as a vendor's would refuse something else."""

    block: bool
    looks_at_files: bool = True
    seen: list[Submission] = field(default_factory=list)

    async def judge(self, submission: Submission) -> Refusal | None:
        self.seen.append(submission)
        picture = submission.output or submission.original
        assert picture is not None
        data = await asyncio.to_thread(picture.file.read_bytes)
        with Image.open(io.BytesIO(data)) as image:
            brightest = image.convert("L").getextrema()[1]
        assert isinstance(brightest, int | float)
        return Refusal("darkness", "nothing to see", block=self.block) if brightest < 40 else None


def _black() -> Photo:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (secrets.randbelow(20), secrets.randbelow(20), secrets.randbelow(20))).save(
        buffer, "PNG", dpi=(secrets.randbelow(5000) + 1, 1)
    )
    return Photo(buffer.getvalue(), 32, 32, "image/png")


@pytest.mark.parametrize("blocks", [True, False])
async def test_a_moderator_refuses_what_it_sees(
    platform: Platform, client: Client, user: User, db: Db, blocks: bool
) -> None:
    picture, queue, moderator = _black(), new_queue(), Darkness(blocks)
    before = await db.fetchval("select balance from credits where user_id = $1", user.id)
    await queue_job(platform, picture, OP, queue, user_id=user.id, price=3)
    assert await _work(platform, queue, moderator) == ("error", "refused", "darkness")
    assert await db.fetchval("select balance from credits where user_id = $1", user.id) == before
    [submission] = moderator.seen
    assert submission.original is not None
    told = (submission.sha256, submission.original.content_type, submission.user_id, submission.persistent)
    assert told == (picture.sha256, "image/png", user.id, False)
    if blocks:
        await _refused(client, picture, "darkness")
    else:
        assert (await client.intake(picture, OP))["cached"] is False


async def test_a_moderator_lets_pass_what_it_likes(platform: Platform) -> None:
    queue, moderator = new_queue(), Darkness(True)
    await queue_job(platform, photo(), OP, queue)
    assert (await _work(platform, queue, BlockedHashes(Safety(platform.database)), moderator))[0] == "done"
    assert len(moderator.seen) == 1


@pytest.mark.parametrize("blocks", [True, False])
async def test_a_moderator_sees_what_is_promoted(  # noqa: PLR0917
    local: Local, api: Child, worker: Child, platform: Platform, db: Db, blocks: bool
) -> None:
    moderator = Darkness(blocks)
    judged = judged_by(platform, *platform.shared(Moderators).all, moderator)
    async with person(local, api.url, db, plan="pro") as paid:
        picture = _black()
        done = await paid.process(picture, OP)
        with pytest.raises(ProblemError) as refusal:
            await promote(judged, paid.id, output_id=done["output"]["output_id"])
        assert (refusal.value.code, refusal.value.category) == (refused, "darkness")
        [submission] = moderator.seen
        assert (submission.sha256, submission.persistent, submission.user_id) == (
            picture.sha256,
            True,
            paid.id,
        )
        # What was refused is not kept; whether it goes altogether is for the moderator to say.
        assert [row["bucket"] for row in await paid.outputs()] == [] if blocks else ["outputs-ephemeral"]
        assert (await paid.image())["original_due_at"] is None


async def test_a_moderator_sees_the_original_that_follows(
    local: Local, api: Child, platform: Platform, db: Db
) -> None:
    moderator, queue = Darkness(False), new_queue()
    judged = judged_by(platform, moderator)
    # Kept originals are off, so that no worker fetches this one before the test does.
    async with person(local, api.url, db, plan="pro", keep_original=False) as paid:
        picture = _black()
        await queue_job(platform, picture, OP, queue, user_id=paid.id)
        assert (await _work(platform, queue))[0] == "done"
        await promote(platform, paid.id, output_id=(await paid.outputs())[0]["id"])
        image = await paid.image()
        upload = await db.fetchval("select upload_path from public.jobs where user_id = $1", paid.id)
        facts = {
            name: image[name]
            for name in ("user_id", "owner_id", "sha256", "size", "content_type", "width", "height")
        }
        due = DueOriginal(image_id=image["id"], upload_path=upload, **facts)
        assert not await fetch_original(judged, due)
        assert (await paid.image())["original_path"] is None
        [submission] = moderator.seen
        assert (submission.sha256, submission.output, submission.persistent) == (picture.sha256, None, True)
        assert await fetch_original(platform, due)
        assert (await paid.image())["original_path"] is not None


async def test_a_copy_of_blocked_bytes_cannot_be_adopted(platform: Platform, user: User) -> None:
    picture, queue = photo(), new_queue()
    await queue_job(platform, picture, OP, queue)
    assert (await _work(platform, queue))[0] == "done"
    found = await ask(platform, picture, OP, queue)
    assert found.output is not None
    await _block(platform, picture.sha256)
    with pytest.raises(OutputGone):  # and the intake that looks again is refused
        await Intakes(platform.database).adopt_output(
            job_id=found.output.output_id,
            user_id=user.id,
            source_id=found.output.output_id,
            filename="x",
            path="x.webp",
            thumb_path="x.thumb.webp",
            output_seconds=60,
            request_id=None,
        )

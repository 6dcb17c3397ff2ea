"""Intake, uploads and cancellation in every order: one job, one hold, no upload lost and none left behind."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.races.order import begin_behind, behind, refused, together
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World
from tests.support import PATIENCE, new_sha256


async def _shared(worlds: list[World], calls: list[Document], user: object) -> list[Document]:
    """All intakes at once over a few connections; refusals come back as {'refused': code}."""
    free: asyncio.Queue[World] = asyncio.Queue()
    for each in worlds:
        free.put_nowait(each)

    async def one(call: Document) -> Document:
        each = await free.get()
        try:
            return await each.intake(user, **call)  # type: ignore[arg-type]
        except Exception as error:
            return {"refused": str(error).partition("\n")[0]}
        finally:
            free.put_nowait(each)

    return await together([one(call) for call in calls])


async def test_fifty_identical_intakes_make_one_job(world: World, open_world: Opener) -> None:
    user, sha256 = await world.user(balance=7), new_sha256()
    worlds = [await open_world() for _ in range(10)]
    answers = await _shared(worlds, [{"sha256": sha256, "price": 7}] * 50, user)
    assert {answer["outcome"] for answer in answers} == {"job"}
    assert len({answer["job"]["job_id"] for answer in answers}) == 1
    assert [answer["created"] for answer in answers].count(True) == 1
    assert await world.balance(user) == 0


async def test_the_last_credits_are_spent_once(world: World, open_world: Opener) -> None:
    user = await world.user(balance=7)
    worlds = [await open_world() for _ in range(10)]
    answers = await _shared(worlds, [{"price": 7, "sha256": new_sha256()} for _ in range(50)], user)
    assert [answer.get("refused") for answer in answers].count("insufficient_credits") == 49
    assert await world.balance(user) == 0
    assert await world.value("select count(*) from public.jobs where user_id = $1", user) == 1
    holds = "select count(*) from public.credit_ledger where user_id = $1 and reason = 'hold'"
    assert await world.value(holds, user) == 1


async def test_the_last_pending_place_is_given_once(world: World, open_world: Opener) -> None:
    user, other = await world.user(), await open_world()
    await world.value(
        "select count(*) from generate_series(1, 49) n, public.intake($1, repeat(to_hex(n % 16), 64), 'f', null, 1, 1,"
        " 1, 'op-' || n, 'full', true, 0, 'default', false, true, 900, 86400, 86400, null)",
        user,
    )
    with refused("too_many_jobs"):
        await behind(world, world.intake(user), other, other.intake(user))


async def test_an_intake_meets_the_claim_of_its_own_job(world: World, open_world: Opener) -> None:
    """The claim takes the job while an intake waits for the user, and the intake then finds it running."""
    user, sha256, queue = await world.user(), new_sha256(), secrets.token_hex(6)
    job = (await world.intake(user, sha256=sha256, queue=queue))["job"]
    uploader, claimer, asker = [await open_world() for _ in range(3)]
    async with world.connection.transaction():
        await world.value("select 1 from public.profiles where user_id = $1 for no key update", user)
        again = await begin_behind(world, asker, asker.intake(user, sha256=sha256, queue=queue))
        await uploader.put(job["upload_path"])
        async with asyncio.timeout(PATIENCE):
            claimed = await claimer.claim(queue)
    async with asyncio.timeout(PATIENCE):
        answer = await again
    assert claimed is not None
    assert claimed["id"] == answer["job"]["job_id"] == job["job_id"]
    assert not answer["created"]


async def test_an_intake_prolongs_a_waiting_job_only(world: World, open_world: Opener) -> None:
    """A job whose upload is arriving keeps the deadline of a queued one."""
    user, sha256, other = await world.user(), new_sha256(), await open_world()
    job = (await world.intake(user, sha256=sha256))["job"]
    async with world.connection.transaction():
        await world.put(job["upload_path"])
        answer = await other.intake(user, sha256=sha256)
        assert answer["job"]["job_id"] == job["job_id"]
    hours = await world.value(
        "select extract(epoch from expires_at - now()) / 3600 from public.jobs where id = $1", job["job_id"]
    )
    assert hours > 23


async def test_an_upload_behind_a_cancellation_is_removed(world: World, open_world: Opener) -> None:
    job, uploader = (await world.intake())["job"], await open_world()
    await behind(world, world.cancel(job["job_id"]), uploader, uploader.put(job["upload_path"]))
    assert (await world.job(job["job_id"]))["status"] == "canceled"
    assert await world.tombstones(job["upload_path"])


async def test_a_cancellation_behind_an_upload_removes_it(world: World, open_world: Opener) -> None:
    job, canceler = (await world.intake())["job"], await open_world()
    _, document = await behind(world, world.put(job["upload_path"]), canceler, canceler.cancel(job["job_id"]))
    assert document is not None
    assert document["status"] == "canceled"
    assert await world.tombstones(job["upload_path"])


async def test_the_client_is_told_with_the_upload(world: World, open_world: Opener) -> None:
    job, client = (await world.intake())["job"], await open_world()
    _, document = await behind(world, world.put(job["upload_path"]), client, client.uploaded(job["job_id"]))
    assert document is not None
    assert document["status"] == "queued"
    events = await world.call("get_job_events", p_job_id=job["job_id"], p_user_id=None, p_after=0)
    assert [event["type"] for event in events] == ["awaiting_upload", "queued"]
    assert not await world.tombstones(job["upload_path"])


async def test_the_word_of_a_client_alone_moves_nothing(world: World) -> None:
    job = (await world.intake())["job"]
    with refused("upload_missing"):
        await world.uploaded(job["job_id"])


@pytest.mark.parametrize("order", ["sweep first", "trigger first"])
async def test_a_sweep_finds_an_upload_once(world: World, open_world: Opener, order: str) -> None:
    """The trigger is off for this upload, as if it had failed; the client and the sweep come at once."""
    job, client = (await world.intake())["job"], await open_world()
    async with world.connection.transaction():
        await world.connection.execute("set local session_replication_role = replica")
        await world.put(job["upload_path"])
    await world.value(
        "update public.jobs set created_at = now() - interval '1 minute' where id = $1", job["job_id"]
    )
    if order == "sweep first":
        _, document = await behind(world, world.sweep(), client, client.uploaded(job["job_id"]))
        assert document is not None
        assert document["status"] == "queued"
    else:
        async with world.connection.transaction():
            await world.uploaded(job["job_id"])
            assert job["job_id"] not in (await client.sweep())["jobs"]
    events = await world.call("get_job_events", p_job_id=job["job_id"], p_user_id=None, p_after=0)
    assert [event["type"] for event in events] == ["awaiting_upload", "queued"]


async def test_a_late_upload_into_a_finished_job_is_removed(world: World) -> None:
    job = (await world.intake())["job"]
    await world.late("expires_at", job["job_id"])
    assert job["job_id"] in (await world.sweep())["jobs"]
    await world.value("update public.tombstones set purged_at = now() where path = $1", job["upload_path"])
    await world.put(job["upload_path"])
    assert await world.tombstones(job["upload_path"])
    assert (await world.job(job["job_id"]))["status"] == "expired"


async def test_a_re_run_does_not_count_on_bytes_that_are_going(world: World, open_world: Opener) -> None:
    """expire_due takes the earlier upload while an intake, begun before, wants to run on it."""
    user, sha256, cleaner = await world.user(), new_sha256(), await open_world()
    earlier = await world.done(user, sha256=sha256)
    upload = f"{earlier['job_id']}/original"
    transaction = world.connection.transaction()
    await transaction.start()  # now() stands still here
    await world.value("select now()")
    await cleaner.value(
        "update public.jobs set upload_expires_at = clock_timestamp() where id = $1", earlier["job_id"]
    )
    async with cleaner.connection.transaction():
        await cleaner.expire()
        task = await begin_behind(
            cleaner, world, world.intake(user, sha256=sha256, op_key="resize-v1:width-9")
        )
    answer = await task
    await transaction.commit()
    assert answer["job"]["status"] == "awaiting_upload"
    assert answer["job"]["upload_path"] != upload
    assert await world.tombstones(upload)


async def test_the_bytes_of_a_re_run_outlive_its_deadline(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    earlier = await world.done(user, sha256=sha256)
    await world.value(
        "update public.jobs set upload_expires_at = now() + interval '1 minute' where id = $1",
        earlier["job_id"],
    )
    again = (await world.intake(user, sha256=sha256, op_key="resize-v1:width-9"))["job"]
    assert (again["status"], again["upload_path"]) == ("queued", f"{earlier['job_id']}/original")
    assert (await world.job(earlier["job_id"]))["upload_expires_at"] > (await world.job(again["job_id"]))[
        "expires_at"
    ]


async def test_a_re_run_that_meets_its_own_failure_does_not_lock(world: World, open_world: Opener) -> None:
    """One re-run finds the bytes changed and drops them; an intake wants to run on them. Both move credits."""
    user, sha256, worker = await world.user(balance=20), new_sha256(), await open_world()
    earlier = await world.done(user, sha256=sha256)
    running = await world.running(user, sha256=sha256, op_key="resize-v1:width-9", price=5)
    assert running["upload_path"] == f"{earlier['job_id']}/original"
    async with world.connection.transaction():
        # An intake on its way: it holds the user and the earlier job, and is about to take credits.
        await world.value("select 1 from public.profiles where user_id = $1 for no key update", user)
        await world.value("select 1 from public.jobs where id = $1 for no key update", earlier["job_id"])
        failing = await begin_behind(world, worker, worker.fail(running, drop=True))
        await world.value("select private.spend_credits($1, 5, 'hold', 'test')", user)
        await world.value("select private.return_credits($1, 'test')", user)
    assert (await failing)["status"] == "error"
    assert await world.balance(user) == 20

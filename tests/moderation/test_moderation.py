"""Moderation by the built-in model, through the whole service: refused, in review, approved, looked at again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from PIL import Image

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.admin import actions, lists
from service.admin.schemas import ReviewFilter
from service.admin.store import Actor
from service.jobs.store import Jobs
from service.library.promote import promote
from service.moderation.moderators import Moderators, Nsfw, NsfwPolicy
from service.moderation.store import Safety
from service.platform.errors import ProblemError
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.jobs import new_queue, queue_job
from tests.library.people import Connection, Person, person
from tests.moderation.judging import judged_by
from tests.nsfw import as_photo, discs, doubtful
from tests.photos import Photo, photo
from tests.support import until_gone
from workers.context import Slots, WorkerContext
from workers.imaging.pool import PixelPool
from workers.look_again import look_again
from workers.originals import originals
from workers.run_job import run_job

pytestmark = pytest.mark.usefixtures("worker", "model_server")
OP = "resize-v1:width-160"
OPERATOR = Actor(None, "cli:tests")


@pytest.fixture
async def shop(local: Local, api: Child, db: Connection) -> AsyncIterator[Person]:
    async with person(local, api.url, db, plan="pro") as paid:
        yield paid


def animation(*frames: Image.Image) -> Photo:
    return as_photo(frames[0], "GIF", save_all=True, append_images=list(frames[1:]), duration=50)


def hidden() -> Photo:
    """The discs beneath full transparency, but for a corner."""
    picture = discs().convert("RGBA")
    picture.putalpha(0)
    picture.paste("teal", (0, 0, 30, 30))
    return as_photo(picture, "PNG", dpi=(int.from_bytes(photo().sha256[:4].encode()) % 5000 + 1, 1))


async def in_review(platform: Platform, output_id: object) -> bool:
    page = await lists.in_review(platform, ReviewFilter(limit=200))
    return any(str(picture.id) == str(output_id) for picture in page.pictures)


@pytest.mark.parametrize("bad", ["discs", "animation", "hidden"])
async def test_what_the_model_is_sure_of_is_refused_and_costs_nothing(
    shop: Person, db: Connection, bad: str
) -> None:
    plain = photo().opened().convert("RGB")
    picture = {
        "discs": lambda: as_photo(discs()),
        "animation": lambda: animation(plain, plain, plain, plain, discs(), plain),
        "hidden": hidden,
    }[bad]()
    before = await shop.balance()
    asked = await shop.intake(picture, OP)
    await shop.upload(asked, picture)
    job = await shop.wait(asked["job_id"])
    assert (job["status"], job["error"]["code"], job["error"]["category"]) == ("error", "refused", "adult")
    assert (job["charged"], await shop.balance(), await shop.outputs()) == (0, before, [])
    left = "select count(*) from storage.objects where name like '%' || $1 || '%'"
    # The row ends a moment before the bytes go.
    await until_gone(lambda: db.fetchval(left, asked["job_id"]))


async def test_a_harmless_picture_is_clean(shop: Person) -> None:
    done = await shop.process(photo(), OP)
    assert done["output"]["moderation"] == "clean"


async def test_a_picture_in_review_is_its_owners_alone_until_it_is_approved(
    shop: Person, local: Local, api: Child, db: Connection, platform: Platform
) -> None:
    picture = as_photo(doubtful())
    done = await shop.process(picture, OP)
    output_id = done["output"]["output_id"]
    assert done["output"]["moderation"] == "review"
    assert done["output_urls"]
    promoted = await shop.say("POST", "/outputs/promote", {"output_id": output_id})
    assert (promoted["version"], promoted["moderation"]) == (1, "review")
    assert await shop.refused("POST", f"/outputs/{output_id}/share", {"expires_in": 3600}, 409) == "in_review"
    assert await in_review(platform, output_id)
    # Somebody else with the same bytes has a look, and a review, of their own.
    async with person(local, api.url, db) as other:
        again = await other.process(picture, OP)
        assert again["output"]["moderation"] == "review"

        await actions.approve(platform, "output", output_id, OPERATOR, "a lamp")
        assert not await in_review(platform, again["output"]["output_id"])  # the same bytes
    link = await shop.say("POST", f"/outputs/{output_id}/share", {"expires_in": 3600}, status=201)
    assert link["status"] == "active"
    assert (await shop.intake(picture, OP))["cached"] is True
    with pytest.raises(ProblemError) as decided:
        await actions.approve(platform, "output", output_id, OPERATOR, "again")
    assert decided.value.code == "conflict"
    said = "select data from audit_log where action = 'picture.approve' and subject = $1"
    assert await db.fetchval(said, picture.sha256) is not None


async def test_what_a_visitor_has_in_review_answers_no_other_visitor(api: Child, db: Connection) -> None:
    picture = as_photo(doubtful())
    async with Client(api.url) as visitor:
        assert (await visitor.process(picture, OP))["output"]["moderation"] == "review"
        assert (await visitor.intake(picture, OP))["cached"] is False
        await db.execute(
            "update image_outputs set moderation = 'approved' where input_sha256 = $1", picture.sha256
        )
        assert (await visitor.intake(picture, OP))["cached"] is True


async def test_a_picture_that_an_operator_refuses_is_taken_away(
    shop: Person, db: Connection, platform: Platform
) -> None:
    picture = as_photo(doubtful())
    done = await shop.process(picture, OP)
    output_id = done["output"]["output_id"]
    await shop.say("POST", "/outputs/promote", {"output_id": output_id})
    await actions.refuse(platform, "output", output_id, OPERATOR, "clear case", category="adult")
    assert await shop.outputs() == []
    assert not await in_review(platform, output_id)
    gone = "select count(*) from tombstones where bucket = 'user-library' and reason = 'blocked' and path like $1"
    assert await db.fetchval(gone, f"{shop.id}/%") >= 2
    answer = await shop.http.post("/intake", json=picture.claim(OP))
    assert (answer.status_code, answer.json()["category"]) == (403, "adult")


async def test_an_original_that_follows_a_promotion_is_looked_at(
    shop: Person, platform: Platform, db: Connection
) -> None:
    """It was not looked at when its output was made: moderation was off then."""
    for picture, verdict in ((as_photo(discs()), None), (as_photo(doubtful()), "review"), (photo(), "clean")):
        output_id = await _made_without_moderation(shop, platform, picture)
        await promote(platform, shop.id, output_id=output_id)
        await originals(platform)
        row = await db.fetchrow(
            "select original_path, original_moderation from images where user_id = $1 and sha256 = $2",
            shop.id,
            picture.sha256,
        )
        assert row is not None
        assert (row["original_path"] is None) == (verdict is None)
        assert row["original_moderation"] == (verdict or "none")


async def test_the_original_of_a_kept_result_has_a_verdict_of_its_own(shop: Person) -> None:
    await shop.process(as_photo(doubtful()), OP, wants_persist=True)
    assert (await shop.image())["original_moderation"] == "review"


async def test_what_was_kept_before_moderation_is_looked_at_later(
    shop: Person, platform: Platform, db: Connection
) -> None:
    picture = as_photo(discs())
    output_id = await _made_without_moderation(shop, platform, picture)
    off = judged_by(platform, platform.shared(Moderators).all[0], looks=False)
    await promote(off, shop.id, output_id=output_id)
    link = await shop.say("POST", f"/outputs/{output_id}/share", {"expires_in": 3600}, status=201)
    while await _moderation(db, output_id) == "none":
        assert await look_again(platform) > 0
    # Nothing is taken away but by an operator; what was shared is shared no more.
    assert await _moderation(db, output_id) == "review"
    opened = await shop.http.get(link["url"])
    assert (opened.status_code, opened.json()["code"]) == (409, "in_review")


async def test_another_threshold_judges_by_what_was_seen(
    shop: Person, platform: Platform, db: Connection
) -> None:
    done = await shop.process(as_photo(doubtful()), OP)
    output_id = done["output"]["output_id"]
    await shop.say("POST", "/outputs/promote", {"output_id": output_id})
    own = platform.shared(Moderators).policy
    assert own is not None
    for review, verdict in ((0.8, "clean"), (own.review, "review")):
        policy = NsfwPolicy(own.model, review, 0.85)
        for _ in range(50):
            await Safety(platform.database).judge_again(policy.name, 1000)
            if await _moderation(db, output_id) == verdict:
                break
        assert await _moderation(db, output_id) == verdict


@asynccontextmanager
async def _context(platform: Platform, *, models: bool) -> AsyncIterator[WorkerContext]:
    weights = tuple(platform.models.values()) if models else ()
    async with PixelPool(workers=1, models=weights) as pixels:
        yield WorkerContext(platform, pixels, Slots(1), "test")


async def _run(platform: Platform, queue: str, *, models: bool = True) -> Any:
    job = await Jobs(platform.database).claim_next(queue, "test", 30)
    assert job is not None
    async with _context(platform, models=models) as context:
        await run_job(context, job)
    return await Jobs(platform.database).get_job(job.id, job.user_id)


async def _made_without_moderation(owner: Person, platform: Platform, picture: Photo) -> Any:
    """An ephemeral output of a picture that nobody has looked at."""
    off = judged_by(platform, platform.shared(Moderators).all[0], looks=False)
    queue = new_queue()
    await queue_job(platform, picture, OP, queue, user_id=owner.id)
    row = await _run(off, queue)
    assert (row.status, row.output.moderation) == ("done", "none")
    return row.output.output_id


async def _moderation(db: Connection, output_id: object) -> str:
    return str(await db.fetchval("select moderation from image_outputs where id = $1", output_id))


async def test_where_moderation_is_off_everything_passes(stack: Stack, platform: Platform) -> None:
    queue = new_queue()
    await queue_job(platform, as_photo(discs()), OP, queue)
    async with open_platform(load_settings(**stack.environment(), moderation="off")) as off:
        row = await _run(off, queue, models=False)
    assert (row.status, row.output.moderation) == ("done", "none")


@pytest.mark.parametrize(("wanted", "status"), [("auto", "done"), ("required", "queued")])
async def test_without_the_model_pictures_pass_only_where_that_is_allowed(
    stack: Stack, platform: Platform, tmp_path: Any, wanted: Any, status: str
) -> None:
    queue = new_queue()
    await queue_job(platform, as_photo(discs()), OP, queue)
    settings = load_settings(**stack.environment(), moderation=wanted, models_dir=tmp_path)
    async with open_platform(settings) as slim:
        row = await _run(slim, queue, models=False)
    assert row.status == status
    if status == "queued":  # tried again, perhaps by a worker that has it
        assert (row.error or {})["code"] == "op_unavailable"


async def test_a_worker_whose_children_lack_the_model_lets_nothing_pass(platform: Platform) -> None:
    queue = new_queue()
    await queue_job(platform, as_photo(discs()), OP, queue)
    row = await _run(platform, queue, models=False)
    assert (row.status, (row.error or {})["code"]) == ("queued", "op_unavailable")


async def test_the_thresholds_are_settings(stack: Stack, platform: Platform) -> None:
    queue = new_queue()
    await queue_job(platform, as_photo(doubtful()), OP, queue)
    strict = load_settings(**stack.environment(), moderation_review=0.3, moderation_refuse=0.5)
    async with open_platform(strict) as own:
        assert any(isinstance(moderator, Nsfw) for moderator in own.shared(Moderators).all)
        row = await _run(own, queue)
    assert (row.status, (row.error or {})["category"]) == ("error", "adult")


async def test_the_service_says_whether_it_looks(shop: Person) -> None:
    assert (await shop.say("GET", "/ops"))["moderation"] == {"active": True, "required": False}
    assert (await shop.say("GET", "/ready"))["checks"]["moderation"]["ok"] is True

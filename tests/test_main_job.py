"""The main job end to end, as its callers see it: intake, upload, job, hit, and who may see what."""

from __future__ import annotations

import asyncio
import base64
import io
import re

import asyncpg
import httpx
import pytest
from PIL import Image

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from tests.client import Client
from tests.photos import photo
from tests.support import User, computations, sign_up

RESIZE = "resize-v1:width-100"


async def _picture(client: Client, url: str) -> Image.Image:
    answer = await client.download(url)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


async def test_a_miss_is_computed_and_then_a_hit(client: Client) -> None:
    picture = photo(exif=_exif_with_gps())
    answer = await client.intake(picture, "resize-v1:width-0100:fit-inside")
    assert (answer["cached"], answer["status"]) == (False, "awaiting_upload")
    assert answer["op_key"] == RESIZE
    assert answer["upload_path"] == f"{answer['job_id']}/original"
    await client.upload(answer, picture)
    done = await client.wait(answer["job_id"])
    assert done["status"] == "done"
    assert (done["progress"], done["attempts"], done["charged"], done["error"]) == (1.0, 1, 0, None)
    assert (done["output"]["width"], done["output"]["height"]) == (100, 75)
    assert len(base64.b64decode(done["output"]["features"]["thumbhash"])) > 16
    assert 0.2 < done["output"]["features"]["exposure"] < 0.8

    output = await _picture(client, done["output_urls"][0])
    assert (output.size, output.format) == ((100, 75), "WEBP")
    assert not output.getexif()
    assert "xmp" not in output.info
    thumbnail = await _picture(client, done["thumbnail_url"])
    assert (max(thumbnail.size), thumbnail.format) == (100, "WEBP")

    for _ in range(3):  # the first comes from the database, the others from Redis
        hit = await client.intake(picture, RESIZE)
        assert hit["cached"] is True
        assert hit["output"] == done["output"]
        assert (await client.download(hit["output_urls"][0])).status_code == 200


def _exif_with_gps() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


async def test_upload_can_be_repeated_but_not_replaced(client: Client) -> None:
    picture = photo()
    answer = await client.intake(picture, RESIZE)
    assert (await client.put(answer["upload_url"], picture.data)).status_code == 200
    second = await client.put(answer["upload_url"], photo().data)
    assert (second.status_code, second.json()["statusCode"]) == (400, "409")
    assert (await client.wait(answer["job_id"]))["status"] == "done"


async def test_a_client_that_vanishes_after_its_upload_loses_nothing(client: Client) -> None:
    picture = photo()
    answer = await client.intake(picture, RESIZE)
    await client.put(answer["upload_url"], picture.data)
    assert (await client.wait(answer["job_id"]))["status"] == "done"


async def test_reporting_an_upload_that_never_came(client: Client) -> None:
    answer = await client.intake(photo(), RESIZE)
    reported = await client.http.post(f"/jobs/{answer['job_id']}/uploaded")
    assert (reported.status_code, reported.json()["code"]) == (409, "upload_missing")
    assert reported.headers["content-type"] == "application/problem+json"


async def test_asking_again_while_in_flight_gives_the_same_job(user_client: Client) -> None:
    picture = photo()
    answers = await asyncio.gather(*(user_client.intake(picture, RESIZE) for _ in range(10)))
    assert len({answer["job_id"] for answer in answers}) == 1
    await user_client.upload(answers[-1], picture)
    assert (await user_client.wait(answers[0]["job_id"]))["status"] == "done"


async def test_another_op_on_the_same_picture_needs_no_second_upload(user_client: Client) -> None:
    picture = photo()
    await user_client.process(picture, RESIZE)
    answer = await user_client.intake(picture, "resize-v1:width-50")
    assert (answer["cached"], answer["upload_url"]) == (False, None)
    done = await user_client.wait(answer["job_id"])
    assert done["output"]["width"] == 50


async def test_whoever_sends_the_bytes_has_what_was_made_of_them(  # noqa: PLR0917
    user_client: Client,
    client: Client,
    api: Child,
    local: Local,
    stack: Stack,
    db: asyncpg.Connection[asyncpg.Record],
) -> None:
    picture = photo()
    first = await user_client.process(picture, RESIZE)
    jobs = set()
    for caller in (client, Client(api.url, (await sign_up(local)).token)):
        answer = await caller.intake(picture, RESIZE)
        if (
            caller is client
        ):  # the digest alone gives nothing of the user's; the other finds what the visitor has then
            assert (answer["cached"], answer["status"]) == (False, "awaiting_upload")
            await caller.upload(answer, picture)
            answer = await caller.wait(answer["job_id"])
            jobs.add(answer["job_id"])
        assert answer["output"]["output_id"] != first["output"]["output_id"]
        assert answer["output"]["sha256"] == first["output"]["sha256"]
        again = await caller.intake(picture, RESIZE)
        assert again["cached"] is True
        assert again["output"] == answer["output"]
        assert (await caller.download(again["output_urls"][0])).status_code == 200
        assert (await caller.job(again["job_id"]))["output"] == answer["output"]
    assert computations(stack, jobs) == 0
    owners = await db.fetch("select user_id, path from image_outputs where input_sha256 = $1", picture.sha256)
    assert len({row["user_id"] for row in owners}) == len({row["path"] for row in owners}) == 3


async def test_a_digest_without_the_bytes_gets_nothing_of_others(
    user_client: Client, api: Child, local: Local
) -> None:
    """Whoever knows the digest, even all of the claim, and sends other bytes: refused before the cache is asked."""
    picture = photo()
    await user_client.process(picture, RESIZE)
    async with Client(api.url, (await sign_up(local)).token) as stranger:
        answer = await stranger.intake(picture, RESIZE)
        await stranger.upload(answer, picture, picture.data[:-1] + b"x")
        failed = await stranger.wait(answer["job_id"])
        assert (failed["error"]["code"], failed["output"], failed["output_urls"]) == (
            "sha256_mismatch",
            None,
            [],
        )


WRONG = ({"size": 1}, {"width": 1, "height": 1}, {"width": 1}, {"height": 1})


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_a_claim_that_does_not_agree_is_a_miss(
    user_client: Client, client: Client, wrong: dict[str, int]
) -> None:
    """Also where Redis has the answer to the right claim."""
    picture = photo()
    for caller in (client, user_client):
        await caller.process(picture, RESIZE)
        for _ in range(2):
            assert (await caller.intake(picture, RESIZE))["cached"] is True
        answer = await caller.intake(picture, RESIZE, **wrong)
        assert (answer["cached"], answer["output"]) == (False, None)
        await caller.http.delete(f"/jobs/{answer['job_id']}")
        for claim in ({}, {"width": picture.height, "height": picture.width}):  # as encoded, or as shown
            assert (await caller.intake(picture, RESIZE, **claim))["cached"] is True


async def test_a_job_of_somebody_else_does_not_exist(
    user_client: Client, client: Client, api: Child, local: Local
) -> None:
    answer = await user_client.intake(photo(), RESIZE)
    stranger = Client(api.url, (await sign_up(local)).token)
    path = f"/jobs/{answer['job_id']}"
    for caller in (client, stranger):
        for call in (
            caller.http.get(path),
            caller.http.get(f"{path}/events"),
            caller.http.post(f"{path}/uploaded"),
            caller.http.delete(path),
        ):
            refused: httpx.Response = await call
            assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")
    assert (await user_client.job(answer["job_id"]))["status"] == "awaiting_upload"


async def test_cancel(client: Client, db: asyncpg.Connection[asyncpg.Record]) -> None:
    picture = photo()
    answer = await client.intake(picture, RESIZE)
    for _ in range(2):
        canceled = await client.http.delete(f"/jobs/{answer['job_id']}")
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    # The URL is still good, so the bytes may still come: they are marked for removal and start nothing.
    await client.put(answer["upload_url"], picture.data)
    assert (await client.job(answer["job_id"]))["status"] == "canceled"
    # More than once, when a cleaner came between cancellation and upload.
    marked = await db.fetchval("select count(*) from tombstones where path = $1", answer["upload_path"])
    assert marked >= 1


async def test_a_finished_job_cannot_be_canceled(client: Client) -> None:
    done = await client.process(photo(), RESIZE)
    refused = await client.http.delete(f"/jobs/{done['job_id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_finished")


async def test_events_resume_after_the_last_one_seen(client: Client) -> None:
    picture = photo()
    answer = await client.intake(picture, RESIZE)
    await client.upload(answer, picture)
    events = [event async for event in client.events(answer["job_id"])]
    ids = [int(number) for _name, number, _document in events if number is not None]
    assert events[-1][0] == "done"
    assert ids == sorted(ids)
    assert all(number is None for name, number, _document in events if name == "progress")
    resumed = [event async for event in client.events(answer["job_id"], last_event_id=ids[-1] - 1)]
    assert [name for name, _id, _document in resumed] == ["done"]
    whole = [name async for name, _id, _document in client.events(answer["job_id"], last_event_id=1)]
    assert whole == ["awaiting_upload", "queued", "running", "done"]


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"op_key": "sharpn-v1"}, 422, "unknown_op"),
        ({"op_key": "resize-v1:width-0"}, 422, "bad_parameter"),
        ({"op_key": "resize"}, 422, "bad_op_key"),
        ({"size": 53_000_000}, 413, "too_large"),
        ({"width": 8193}, 413, "too_many_pixels"),
        ({"filename": "logo.svgz"}, 415, "unsupported_type"),
        ({"content_type": "application/pdf"}, 415, "unsupported_type"),
        ({"sha256": "abc"}, 422, "invalid_request"),
        ({"size": -1}, 422, "invalid_request"),
        ({"surprise": 1}, 422, "invalid_request"),
        ({"filename": "a\u0000b"}, 422, "invalid_request"),
    ],
)
async def test_what_can_be_refused_on_the_claim_alone(
    client: Client, changed: dict[str, object], status: int, code: str
) -> None:
    answer = await client.http.post("/intake", json=photo().claim(RESIZE) | changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert problem["status"] == status
    assert problem["charged"] == 0
    assert problem["request_id"] == answer.headers["x-request-id"]


async def test_a_plan_with_a_library_keeps_what_is_asked_to_persist(
    user_client: Client, user: User, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    await db.execute("update profiles set plan_id = 'pro' where user_id = $1", user.id)
    done = await user_client.process(photo(), RESIZE, wants_persist=True)
    assert (done["status"], done["expires_at"]) == ("done", None)
    row = await db.fetchrow("select * from image_outputs where job_id = $1::uuid", done["job_id"])
    assert row is not None
    assert (row["bucket"], row["expires_at"]) == ("user-library", None)
    folder = f"{user.id}/{row['image_id']}/output"
    key = await db.fetchval("select object_key from jobs where id = $1::uuid", done["job_id"])
    assert re.fullmatch(rf"{folder}/{key}\.[0-9a-f]{{8}}\.webp", row["path"])
    assert row["thumb_path"] == row["path"].removesuffix(".webp") + ".thumb.webp"
    assert (await user_client.download(done["output_urls"][0])).status_code == 200

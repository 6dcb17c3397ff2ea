"""POST /intake/batch end to end: one product photo becomes several pictures by one upload."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from PIL import Image

from scripts.docs.scene import mug
from service.jobs.schemas import MAX_BATCH
from tests.client import Client
from tests.photos import Photo, photo
from tests.support import until_gone

CATALOGUE = (
    "compose-v2:aspect-1x1:color-white:scene-plain+resize-v1:width-300",
    "compose-v2:aspect-4x5+resize-v1:width-300",
    "smartcrop-v1:aspect-16x9+resize-v1:width-320",
)


def product() -> Photo:
    """A mug, another one at each call."""
    file = io.BytesIO()
    picture = mug((640, 480)).photo
    picture.putpixel((0, 0), tuple(uuid.uuid4().bytes[:3]))
    picture.save(file, "PNG")
    return Photo(file.getvalue(), 640, 480, "image/png")


async def ask(client: Client, picture: Photo, *op_keys: str, **changed: Any) -> dict[str, Any]:
    claim = picture.claim("") | {"op_keys": list(op_keys)} | changed
    del claim["op_key"]
    answer = await client.http.post("/intake/batch", json=claim)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_one_photo_becomes_a_catalogue(user_client: Client) -> None:
    picture = product()
    asked = await ask(user_client, picture, *CATALOGUE)
    answers = [item["answer"] for item in asked["items"]]
    assert [item["op_key"] for item in asked["items"]] == list(CATALOGUE)
    assert {answer["upload_path"] for answer in answers} == {f"{answers[0]['job_id']}/original"}
    assert len({answer["upload_url"] for answer in answers}) == 1
    await user_client.upload(answers[0], picture)
    done = [await user_client.wait(answer["job_id"]) for answer in answers]
    assert [job["status"] for job in done] == ["done"] * 3, done
    shapes = []
    for job in done:
        served = await user_client.download(job["output_urls"][0])
        shapes.append(Image.open(io.BytesIO(served.content)).size)
    assert shapes == [(300, 300), (300, 375), (320, 180)]

    again = await ask(user_client, picture, *CATALOGUE)
    assert [item["answer"]["cached"] for item in again["items"]] == [True] * 3
    assert [item["answer"]["output"]["output_id"] for item in again["items"]] == [
        job["output"]["output_id"] for job in done
    ]


async def test_what_cannot_be_run_stands_beside_what_can(user_client: Client) -> None:
    asked = await ask(user_client, photo(), "resize-v1:width-20", "resize-v9:width-20", "crop-v1")
    first, unknown, bad = asked["items"]
    assert first["answer"]["status"] == "awaiting_upload"
    assert (unknown["answer"], unknown["problem"]["code"]) == (None, "unknown_op")
    assert (bad["answer"], bad["problem"]["code"]) == (None, "bad_parameter")
    assert bad["problem"]["request_id"]


async def test_the_same_thing_twice_is_made_once(user_client: Client) -> None:
    asked = await ask(user_client, photo(), "resize-v1:width-20", "resize-v1:width-020")
    one, two = (item["answer"] for item in asked["items"])
    assert one == two


async def test_canceling_one_leaves_the_others(user_client: Client) -> None:
    picture = photo()
    asked = await ask(user_client, picture, "resize-v1:width-20", "resize-v1:width-21")
    owner, other = (item["answer"] for item in asked["items"])
    assert (await user_client.http.delete(f"/jobs/{owner['job_id']}")).json()["status"] == "canceled"
    sent = await user_client.put(other["upload_url"], picture.data)
    assert sent.status_code == 200
    assert (await user_client.wait(other["job_id"]))["status"] == "done"


async def test_wrong_bytes_fail_every_job_with_the_reason(user_client: Client) -> None:
    picture = photo()
    asked = await ask(user_client, picture, "resize-v1:width-20", "resize-v1:width-21")
    answers = [item["answer"] for item in asked["items"]]
    await user_client.upload(
        answers[0], picture, photo().data[: len(picture.data)].ljust(len(picture.data), b"\0")
    )
    ended = [await user_client.wait(answer["job_id"]) for answer in answers]
    assert [job["error"]["code"] for job in ended] == ["sha256_mismatch"] * 2


@pytest.mark.parametrize(
    "changed",
    [{"op_keys": []}, {"op_keys": ["resize-v1:width-9"] * (MAX_BATCH + 1)}, {"op_key": "resize-v1:width-9"}],
)
async def test_a_batch_has_one_to_eight_op_keys(user_client: Client, changed: dict[str, Any]) -> None:
    claim = photo().claim("") | {"op_keys": ["resize-v1:width-9"]} | changed
    if "op_key" not in changed:
        del claim["op_key"]
    answer = await user_client.http.post("/intake/batch", json=claim)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_picture_that_is_not_taken_is_refused_once(user_client: Client) -> None:
    claim = photo().claim("") | {"op_keys": list(CATALOGUE), "content_type": "application/pdf"}
    del claim["op_key"]
    answer = await user_client.http.post("/intake/batch", json=claim)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")


async def test_a_plan_without_bulk_makes_one_at_a_time(client: Client) -> None:
    claim = photo().claim("") | {"op_keys": list(CATALOGUE)}
    del claim["op_key"]
    answer = await client.http.post("/intake/batch", json=claim)
    assert (answer.status_code, answer.json()["code"]) == (402, "plan_required")
    one = await ask(client, photo(), CATALOGUE[0])
    assert one["items"][0]["answer"]["status"] == "awaiting_upload"


async def test_refused_bytes_go_with_the_last_job_that_reads_them(
    user_client: Client, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    announced, sent = photo(), photo()
    wrong = replace(announced, data=sent.data[: len(announced.data)].ljust(len(announced.data), b" "))
    claim = replace(wrong, data=announced.data)
    asked = await ask(user_client, claim, "resize-v1:width-40", "resize-v1:width-41", "resize-v1:width-42")
    answers = [item["answer"] for item in asked["items"]]
    await user_client.upload(answers[0], wrong)
    ended = [await user_client.wait(answer["job_id"]) for answer in answers]
    assert {job["error"]["code"] for job in ended} == {"sha256_mismatch"}
    left = "select count(*) from storage.objects where name = $1"
    # The row ends a moment before the bytes go.
    await until_gone(lambda: db.fetchval(left, answers[0]["upload_path"]))

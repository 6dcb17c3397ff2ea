"""What a caller gets of a result that somebody else made: the picture, and nothing that opens anything of theirs."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg
import httpx

from scripts.local.process import Child
from tests.client import Client
from tests.leaks import texts_of
from tests.photos import photo
from tests.support import User

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
RESIZE = "resize-v1:width-64"


async def _told(client: Client, *answers: httpx.Response) -> str:
    """All of these answers, of what their job's id gives, and of the URLs in them."""
    told = list(answers)
    body = answers[0].json()
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/uploaded"), ("DELETE", "")):
        told.append(await client.http.request(method, f"/jobs/{body['job_id']}{path}"))
    for url in (*body["output_urls"], body["thumbnail_url"], body["download_url"]):
        picture = await client.download(url)
        assert picture.status_code == 200
        told.append(httpx.Response(200, headers=picture.headers, request=picture.request))
    return "\n".join(text for answer in told for text in texts_of(answer))


async def test_a_hit_tells_nothing_that_opens_another_visitors_job(
    client: Client, api: Child, db: Connection
) -> None:
    picture = photo()
    first = await client.process(picture, RESIZE, filename="secret-project.jpg")
    row = await db.fetchrow("select * from jobs where id = $1::uuid", first["job_id"])
    assert row is not None
    hidden = [first["job_id"], "secret-project", str(row["request_id"])]
    async with Client(api.url) as second:
        claim = picture.claim(RESIZE, filename="mine.jpg")
        for _ in range(2):  # from the database, then from Redis
            hit = await second.http.post("/intake", json=claim)
            assert hit.json()["cached"] is True
            told = await _told(second, hit)
            assert [one for one in hidden if one in told] == []
        job = hit.json()["job_id"]
        assert (await second.job(job))["output"] == first["output"]
        # Whoever keeps the id of their own job keeps the capability.
        assert (await second.job(first["job_id"]))["download_url"].endswith("secret-project-resize.webp")


async def test_a_copy_tells_nothing_of_the_visitor_whose_result_it_is(
    client: Client, user_client: Client, db: Connection
) -> None:
    picture = photo()
    first = await client.process(picture, RESIZE, filename="secret-project.jpg")
    hidden = [first["job_id"], first["output"]["output_id"], "secret-project"]
    row = await db.fetchrow("select object_key from jobs where id = $1::uuid", first["job_id"])
    assert row is not None
    claim = picture.claim(RESIZE, filename="mine.jpg")
    hit = await user_client.http.post("/intake", json=claim)
    assert hit.json()["cached"] is True
    told = await _told(user_client, hit)
    assert [one for one in (*hidden, str(row["object_key"])) if one in told] == []


async def test_what_a_worker_finds_in_the_cache_tells_nothing_of_its_owner(
    client: Client, user_client: Client, user: User, db: Connection
) -> None:
    """A visitor who sends the bytes of a picture that a user has had made."""
    picture = photo()
    first = await user_client.process(picture, RESIZE, filename="secret-project.jpg")
    row = await db.fetchrow("select * from image_outputs where id = $1::uuid", first["output"]["output_id"])
    assert row is not None
    hidden = [
        str(user.id),
        "secret-project",
        *(str(row[name]) for name in ("id", "job_id", "image_id", "path")),
    ]
    done = await client.process(picture, RESIZE, filename="mine.jpg")
    answer = await client.http.get(f"/jobs/{done['job_id']}")
    told = await _told(client, answer)
    assert [one for one in hidden if one in told] == []


async def test_every_answer_says_what_it_is_about(
    client: Client, user_client: Client, user: User, db: Connection
) -> None:
    """Fresh, from the database and from Redis; of visitors and of users, in the library and not."""
    await db.execute("update profiles set plan_id = 'pro' where user_id = $1", user.id)
    for caller, persist in ((client, False), (user_client, False), (user_client, True)):
        picture = photo()
        done = await caller.process(picture, RESIZE, wants_persist=persist)
        for _ in range(3):
            hit = await caller.intake(picture, RESIZE)
            assert (hit["cached"], hit["output"]) == (True, done["output"])
            assert (await caller.job(hit["job_id"]))["output"] == done["output"]
            assert (hit["job_id"] == done["job_id"]) == (caller is user_client)
        assert (done["output"]["image_id"] is None) == (caller is client)
        assert done["output"]["version"] == (1 if persist else None)


async def test_whoever_knows_only_the_digest_costs_no_computation_and_learns_nothing(
    user_client: Client, client: Client
) -> None:
    picture = photo()
    await user_client.process(picture, RESIZE)
    answers = [
        await client.intake(picture, RESIZE, **claim) for claim in ({}, {"size": 1, "width": 1, "height": 1})
    ]
    unknown = await client.intake(photo(), RESIZE)
    for answer in answers:
        assert {name for name, value in answer.items() if value} == {
            name for name, value in unknown.items() if value
        }

"""POST /images/bulk, and the archive."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from service.cache.hot_answers import hit_key
from service.platform.resources import Platform
from tests.library.shelf import LIBRARY, Shelf
from tests.library.test_collections import create, refused
from tests.library.test_listing import names
from workers.cleanup import cleanup


async def bulk(client: httpx.AsyncClient, action: str, *images: object, **more: Any) -> dict[str, str | None]:
    """Image -> None when it was done, else the code."""
    body = {"action": action, "image_ids": [str(image) for image in images]} | more
    answer = await client.post("/images/bulk", json=body)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert all(result["done"] == (result["code"] is None) for result in results)
    return {result["image_id"]: result["code"] for result in results}


async def test_delete_takes_objects_rows_and_hits(
    mine: httpx.AsyncClient, theirs: httpx.AsyncClient, shelf: Shelf, platform: Platform
) -> None:
    kept = await shelf.image("kept.jpg")
    gone = await shelf.image("gone.jpg", original=b"the original")
    output = await shelf.output(gone, version=1)
    row = await shelf.row("image_outputs", output)
    original = (await shelf.row("images", gone))["original_path"]
    key = hit_key(row["cache_key"].hex(), shelf.user_id)
    await platform.redis.set(key, b"{}")
    unknown = uuid4()

    assert await bulk(theirs, "delete", gone) == {str(gone): "image_not_found"}
    assert await bulk(mine, "delete", gone, unknown, gone) == {
        str(gone): None,
        str(unknown): "image_not_found",
    }
    assert await platform.redis.get(key) is None
    assert await names(mine) == ["kept.jpg"]
    refused(await mine.get(f"/images/{gone}"), 404, "image_not_found")
    await cleanup(platform)
    for path in (row["path"], row["thumb_path"], original):
        assert await platform.storage.info(LIBRARY, path) is None
    assert await bulk(mine, "delete", gone) == {str(gone): "image_not_found"}
    audited = await shelf.db.fetch("select action from public.audit_log where subject = $1", str(gone))
    assert [row["action"] for row in audited] == ["image.delete"]
    assert (await mine.get(f"/images/{kept}")).status_code == 200


async def test_move_leaves_an_image_in_one_collection_or_in_none(
    mine: httpx.AsyncClient, shelf: Shelf
) -> None:
    images = [await shelf.image(f"{number}.jpg") for number in range(3)]
    one, two, three = [await create(mine, name) for name in ("One", "Two", "Three")]
    for collection in (one, two):
        for image in images[:2]:
            await mine.put(f"/collections/{collection}/images/{image}")
    for _ in range(2):
        moved = await bulk(mine, "move", *images[1:], collection_id=three)
        assert set(moved.values()) == {None}
        assert await names(mine, collection_id=one) == await names(mine, collection_id=two) == ["0.jpg"]
        assert sorted(await names(mine, collection_id=three)) == ["1.jpg", "2.jpg"]
    await bulk(mine, "move", *images, collection_id=None)
    assert [await names(mine, collection_id=collection) for collection in (one, two, three)] == [[], [], []]
    assert len(await names(mine)) == 3


async def test_archive_and_back(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    images = [await shelf.image(f"{number}.jpg", original=b"bytes") for number in range(3)]
    for _ in range(2):
        assert set((await bulk(mine, "archive", *images[:2])).values()) == {None}
        assert await names(mine) == ["2.jpg"]
    first = (await shelf.row("images", images[0]))["archived_at"]
    await mine.post(f"/images/{images[0]}/archive")
    assert (await shelf.row("images", images[0]))["archived_at"] == first
    body = (await mine.get(f"/images/{images[0]}")).json()
    assert body["archived_at"] is not None
    async with httpx.AsyncClient(trust_env=False) as plain:
        assert (await plain.get(body["original_url"])).content == b"bytes", "the bytes stay"
    for _ in range(2):
        assert set((await bulk(mine, "unarchive", *images)).values()) == {None}
        assert len(await names(mine)) == 3
    refused(await mine.post(f"/images/{uuid4()}/archive"), 404, "image_not_found")


SOME = str(UUID(int=1))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "delete"},
        {"action": "delete", "image_ids": []},
        {"action": "delete", "image_ids": [SOME] * 101},
        {"action": "add", "image_ids": [SOME]},
        {"action": "move", "image_ids": [SOME]},
        {"action": "delete", "image_ids": [SOME], "collection_id": SOME},
        {"action": "archive", "image_ids": ["1"]},
        {"action": "archive", "image_ids": [SOME], "more": 1},
        [],
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(mine: httpx.AsyncClient, body: object) -> None:
    refused(await mine.post("/images/bulk", json=body), 422, "invalid_request")


async def test_a_collection_that_is_not_there_moves_nothing(
    mine: httpx.AsyncClient, theirs: httpx.AsyncClient, shelf: Shelf
) -> None:
    image = await shelf.image()
    one = await create(mine, "One")
    await mine.put(f"/collections/{one}/images/{image}")
    for collection in (str(uuid4()), await create(theirs, "Theirs")):
        body = {"action": "move", "image_ids": [str(image)], "collection_id": collection}
        refused(await mine.post("/images/bulk", json=body), 404, "collection_not_found")
    assert await names(mine, collection_id=one) == ["mug.jpg"]


async def test_changes_of_the_same_images_at_once_do_not_block_each_other(
    mine: httpx.AsyncClient, shelf: Shelf
) -> None:
    images = [await shelf.image(f"{number}.jpg", op_keys=["resize-v1:width-20"]) for number in range(6)]
    one = await create(mine, "One")
    orders = [images, images[::-1], images[3:] + images[:3]]
    await asyncio.gather(
        *(bulk(mine, action, *order) for order in orders for action in ("archive", "unarchive")),
        *(bulk(mine, "move", *order, collection_id=one) for order in orders),
    )
    results = await asyncio.gather(*(bulk(mine, "delete", *order) for order in orders))
    for image in images:
        codes = [result[str(image)] for result in results]
        assert sorted(codes, key=str) == [None, "image_not_found", "image_not_found"]
    assert await names(mine, archived="all") == []


async def test_age_archives_where_its_owner_wants_it(
    mine: httpx.AsyncClient, shelf: Shelf, platform: Platform
) -> None:
    now = datetime.now(UTC)
    old, older = now - timedelta(days=40), now - timedelta(days=400)
    await shelf.image("new.jpg", created_at=now - timedelta(days=20))
    aged = await shelf.image("aged.jpg", created_at=old, op_keys=["resize-v1:width-20"])
    worked_on = await shelf.image("worked-on.jpg", created_at=older)
    await shelf.output(worked_on, created_at=now - timedelta(days=1))
    await cleanup(platform)
    assert len(await names(mine)) == 3, "nobody asked"

    await shelf.db.execute(
        "update public.profiles set archive_after_days = 30 where user_id = $1", shelf.user_id
    )
    await cleanup(platform)
    assert sorted(await names(mine)) == ["new.jpg", "worked-on.jpg"]
    assert await names(mine, archived="true") == ["aged.jpg"]

    await mine.post(f"/images/{aged}/unarchive")
    await cleanup(platform)
    assert "aged.jpg" in await names(mine), "whoever took it out wants to see it"
    await shelf.db.execute("update public.images set listed_since = $2 where id = $1", aged, old)
    await cleanup(platform)
    assert await names(mine, archived="true") == ["aged.jpg"]

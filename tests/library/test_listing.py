"""GET /images and GET /images/{id}: order, pages, filters, and URLs that lead somewhere."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.cache.hot_answers import hit_key
from service.library.image_schemas import ImageFilter
from service.library.images import list_page
from service.platform.resources import Platform
from tests.library.shelf import EPHEMERAL, LIBRARY, NOON, Shelf
from tests.support import User

DAY = timedelta(days=1)
SOME = "5f0c1f0e-94a4-4b6c-9d0b-3f3a8d1c2b7e"
"""An id that nothing has."""


async def listed(client: httpx.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    """One page."""
    answer = await client.get("/images", params={"limit": 100} | wanted)
    assert answer.status_code == 200, answer.text
    images: list[dict[str, Any]] = answer.json()["images"]
    return images


async def names(client: httpx.AsyncClient, **wanted: Any) -> list[str]:
    return [image["filename"] for image in await listed(client, **wanted)]


async def pages(client: httpx.AsyncClient, limit: int) -> AsyncIterator[list[str]]:
    """Ids of one page after the other, to the last."""
    cursor: str | None = None
    while True:
        answer = await client.get("/images", params={"limit": limit} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        yield [image["image_id"] for image in body["images"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return


async def test_pages_do_not_shift_when_images_come_in_between(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    made = [str(await shelf.image(created_at=NOON + number * DAY)) for number in range(7)]
    seen: list[str] = []
    async for page in pages(mine, 2):
        assert len(page) <= 2
        seen += page
        await shelf.image(created_at=NOON + 100 * DAY + len(seen) * DAY)
        await shelf.image(created_at=NOON - 100 * DAY - len(seen) * DAY) if len(seen) == 2 else None
    newest_first = made[::-1]
    assert seen[:7] == newest_first
    assert len(seen) == len(set(seen)) == 8, (
        "the older one is found, the newer ones are behind the first page"
    )


async def test_equal_times_are_told_apart(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    made = {str(await shelf.image(created_at=NOON)) for _ in range(9)}
    seen = [image_id async for page in pages(mine, 2) for image_id in page]
    assert len(seen) == 9
    assert set(seen) == made


async def test_a_full_last_page_is_the_last(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    for number in range(4):
        await shelf.image(created_at=NOON + number * DAY)
    assert [len(page) async for page in pages(mine, 2)] == [2, 2]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%00",
        "é",
        "=" * 7,
        base64.urlsafe_b64encode(b"yesterday,1").decode(),
        base64.urlsafe_b64encode(b"2026-05-01T12:00:00+00:00,1").decode(),
        base64.urlsafe_b64encode(f"2026-05-01,{SOME}".encode()).decode(),
        base64.urlsafe_b64encode(f"0001-01-01T00:00:00+23:59,{SOME}".encode()).decode(),
        base64.urlsafe_b64encode(f"9999-12-31T23:59:59-23:59,{SOME}".encode()).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe,1").decode(),
    ],
)
async def test_a_cursor_of_ones_own_making_is_refused(mine: httpx.AsyncClient, cursor: str) -> None:
    answer = await mine.get("/images", params={"cursor": cursor})
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_request"


async def test_filters(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    await shelf.image("plain.jpg", created_at=NOON)
    await shelf.image("cut.jpg", created_at=NOON + DAY, op_keys=["bgremove-v1+flatten-v1:color-white"])
    both = await shelf.image(
        "both.jpg", created_at=NOON + 2 * DAY, op_keys=["resize-v1:width-20", "bgremove-v2"]
    )
    dead = await shelf.image("dead.jpg", created_at=NOON + 3 * DAY)
    await shelf.output(dead, "bgremove-v1", objects=False, life=-DAY)
    assert await names(mine) == ["dead.jpg", "both.jpg", "cut.jpg", "plain.jpg"]
    assert await names(mine, op="bgremove") == ["both.jpg", "cut.jpg"]
    assert await names(mine, op="flatten") == ["cut.jpg"]
    assert await names(mine, op="color") == []
    assert await names(mine, op="bg") == []
    moment = (NOON + DAY).isoformat()
    assert await names(mine, created_after=moment) == ["dead.jpg", "both.jpg", "cut.jpg"]
    assert await names(mine, created_before=moment) == ["plain.jpg"]
    assert await names(mine, created_before="2026-05-02T14:00:00+02:00") == ["plain.jpg"]
    assert await names(mine, created_after=moment, created_before=moment) == []
    assert (await mine.post(f"/images/{both}/archive")).status_code == 204
    assert "both.jpg" not in await names(mine)
    assert await names(mine, archived="true") == ["both.jpg"]
    assert await names(mine, archived="all") == ["dead.jpg", "both.jpg", "cut.jpg", "plain.jpg"]
    assert await names(mine, archived="all", op="resize", q="bot") == ["both.jpg"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"limit": 0},
        {"limit": 101},
        {"archived": "maybe"},
        {"op": "bgremove-v1"},
        {"op": "' or true"},
        {"collection_id": "1"},
        {"created_after": "0001-01-01T00:00:00+23:59"},
        {"created_before": "9999-12-31T23:59:59-23:59"},
        {"created_before": "soon"},
        {"q": "a\x00b"},
        {"q": "x" * 201},
        {"nothing": "1"},
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(
    mine: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    answer = await mine.get("/images", params=wanted)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_request"


async def test_thumbnails_lead_somewhere_and_a_lost_one_is_buried(
    mine: httpx.AsyncClient, shelf: Shelf, platform: Platform
) -> None:
    good = await shelf.image("good.jpg", created_at=NOON + DAY)
    await shelf.output(good)
    lost = await shelf.image("lost.jpg", created_at=NOON)
    older = await shelf.output(lost, created_at=NOON - DAY)
    missing = await shelf.output(lost, objects=False)
    key = hit_key((await shelf.row("image_outputs", missing))["cache_key"].hex(), shelf.user_id)
    await platform.redis.set(key, b"{}")

    first, second = await listed(mine)
    async with httpx.AsyncClient(trust_env=False) as plain:
        thumbnail = await plain.get(first["thumbnail_url"])
    assert (
        thumbnail.content
        == (await shelf.row("image_outputs", UUID(first["current"]["output_id"])))["thumb_path"].encode()
    )
    assert (second["thumbnail_url"], second["current"], second["versions"]) == (None, None, 1)
    assert (await shelf.row("image_outputs", missing))["deleted_at"] is not None
    assert await platform.redis.get(key) is None

    second = (await listed(mine))[1]
    assert second["current"]["output_id"] == str(older)
    assert second["thumbnail_url"] is not None


async def test_a_page_is_signed_by_one_call_for_each_bucket(shelf: Shelf, platform: Platform) -> None:
    for number in range(3):
        image = await shelf.image(created_at=NOON + number * DAY)
        await shelf.output(image)
        kept = await shelf.image(created_at=NOON - number * DAY)
        await shelf.output(kept, version=1)
    calls: list[str] = []

    async def note(request: httpx.Request) -> None:
        calls.append(request.url.path)

    platform.http.event_hooks["request"].append(note)
    try:
        page = await list_page(platform, shelf.user_id, ImageFilter())
    finally:
        platform.http.event_hooks["request"].remove(note)
    assert len(page.images) == 6
    assert all(image.thumbnail_url for image in page.images)
    assert sorted(calls) == [
        "/rest/v1/rpc/list_images",
        f"/storage/v1/object/sign/{EPHEMERAL}",
        f"/storage/v1/object/sign/{LIBRARY}",
    ]


async def test_an_output_at_its_end_gets_no_url_and_shortens_none(
    mine: httpx.AsyncClient, shelf: Shelf
) -> None:
    ending = await shelf.image(created_at=NOON + DAY)
    last = await shelf.output(ending, life=timedelta(seconds=20))
    await shelf.output(await shelf.image(created_at=NOON))
    first, second = await listed(mine)
    assert first["thumbnail_url"] is None
    assert second["thumbnail_url"] is not None
    assert (await shelf.row("image_outputs", last))["deleted_at"] is None


async def test_an_image_with_its_versions(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    image_id = await shelf.image('Käse & "Brot".jpg', prompt="a cheese", original=b"the original")
    first = await shelf.output(image_id, created_at=NOON, version=1)
    second = await shelf.output(image_id, "bgremove-v1", created_at=NOON + DAY, version=2)
    missing = await shelf.output(image_id, created_at=NOON + 2 * DAY, version=3, objects=False)
    await shelf.show(image_id, first)
    body = (await mine.get(f"/images/{image_id}")).json()
    assert [output["output_id"] for output in body["outputs"]] == [str(second), str(first)]
    assert [output["version"] for output in body["outputs"]] == [2, 1]
    assert (body["versions"], body["prompt"], body["original_kept"]) == (2, "a cheese", True)
    assert body["current"]["output_id"] == str(first)
    assert body["thumbnail_url"] is not None
    assert (await shelf.row("image_outputs", missing))["deleted_at"] is not None
    async with httpx.AsyncClient(trust_env=False) as plain:
        for output in body["outputs"]:
            path = (await shelf.row("image_outputs", UUID(output["output_id"])))["path"]
            assert (await plain.get(output["url"])).content == path.encode()
            assert (await plain.get(output["thumbnail_url"])).status_code == 200
            saved = await plain.get(output["download_url"])
            assert saved.content == path.encode()
            step = output["op_key"].partition("-v1")[0]
            assert f"-{step}.webp" in saved.headers["content-disposition"]
        original = await plain.get(body["original_url"])
    assert original.content == b"the original"
    assert "filename*=UTF-8''K%C3%A4se" in original.headers["content-disposition"]


async def test_the_newest_is_current_until_one_is_chosen(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    image_id = await shelf.image(op_keys=["resize-v1:width-20", "bgremove-v1"])
    assert (await listed(mine))[0]["current"]["op_key"] == "bgremove-v1"
    assert (await mine.get(f"/images/{image_id}")).json()["current"]["op_key"] == "bgremove-v1"


async def test_an_original_that_is_gone_is_not_linked(
    mine: httpx.AsyncClient, shelf: Shelf, platform: Platform
) -> None:
    image_id = await shelf.image(original=b"x")
    await platform.storage.remove(LIBRARY, [(await shelf.row("images", image_id))["original_path"]])
    answer = await mine.get(f"/images/{image_id}")
    assert answer.status_code == 200
    assert answer.json()["original_url"] is None


async def test_strangers_see_nothing(
    mine: httpx.AsyncClient, theirs: httpx.AsyncClient, shelf: Shelf, local: Local, stranger: User
) -> None:
    image_id = await shelf.image(op_keys=["resize-v1:width-20"])
    collection = (await mine.post("/collections", json={"name": "Mugs"})).json()["collection_id"]
    assert (await mine.put(f"/collections/{collection}/images/{image_id}")).status_code == 204
    assert await listed(theirs) == []
    for method, path in (
        ("GET", f"/images/{image_id}"),
        ("POST", f"/images/{image_id}/archive"),
        ("POST", f"/images/{image_id}/unarchive"),
    ):
        answer = await theirs.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found"), path
    answer = await theirs.get("/images", params={"collection_id": collection})
    assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_found")
    for headers in ({}, stranger.bearer):
        async with httpx.AsyncClient(
            base_url=f"{local.supabase_url}/rest/v1",
            headers={"apikey": local.publishable_key} | headers,
            trust_env=False,
        ) as rest:
            for table in ("images", "image_outputs", "collections", "collection_items"):
                answer = await rest.get(
                    f"/{table}", params={"select": "user_id", "user_id": f"eq.{shelf.user_id}"}
                )
                assert answer.status_code in ({200} if headers else {401, 403}), (table, answer.text)
                assert not headers or answer.json() == [], table


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/images", None),
        ("GET", f"/images/{SOME}", None),
        ("POST", f"/images/{SOME}/archive", None),
        ("POST", f"/images/{SOME}/unarchive", None),
        ("POST", "/images/bulk", {"action": "delete", "image_ids": [SOME]}),
        ("GET", "/collections", None),
        ("POST", "/collections", {"name": "Mugs"}),
        ("PATCH", f"/collections/{SOME}", {"name": "Mugs"}),
        ("DELETE", f"/collections/{SOME}", None),
        ("PUT", f"/collections/{SOME}/images/{SOME}", None),
        ("DELETE", f"/collections/{SOME}/images/{SOME}", None),
    ],
)
async def test_the_anonymous_are_asked_to_sign_in(
    api: Child, method: str, path: str, body: dict[str, Any] | None
) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as anonymous:
        answer = await anonymous.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_required")
    assert answer.headers["www-authenticate"] == "Bearer"

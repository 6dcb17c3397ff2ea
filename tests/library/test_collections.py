"""Collections: folders nested one level, an image in many, names unique in their place."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.library.shelf import NOON, Shelf
from tests.library.test_listing import names


async def create(client: httpx.AsyncClient, name: str, parent_id: str | None = None) -> str:
    answer = await client.post("/collections", json={"name": name, "parent_id": parent_id})
    assert answer.status_code == 201, answer.text
    collection_id: str = answer.json()["collection_id"]
    return collection_id


async def tree(client: httpx.AsyncClient) -> dict[str, tuple[str | None, int]]:
    """Name -> the parent's name and how many images."""
    rows = (await client.get("/collections")).json()["collections"]
    by_id = {row["collection_id"]: row["name"] for row in rows}
    return {row["name"]: (by_id.get(row["parent_id"]), row["images"]) for row in rows}


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_made_renamed_moved_deleted(mine: httpx.AsyncClient) -> None:
    shop = await create(mine, "  Shop  ")
    mugs = await create(mine, "Mugs", shop)
    await create(mine, "Archive")
    assert await tree(mine) == {"Archive": (None, 0), "Mugs": ("Shop", 0), "Shop": (None, 0)}
    renamed = await mine.patch(f"/collections/{mugs}", json={"name": "Cups"})
    assert (renamed.status_code, renamed.json()["name"], renamed.json()["parent_id"]) == (200, "Cups", shop)
    moved = await mine.patch(f"/collections/{mugs}", json={"parent_id": None})
    assert moved.json()["parent_id"] is None
    assert (await mine.patch(f"/collections/{mugs}", json={})).json() == moved.json()
    assert (
        await mine.patch(f"/collections/{mugs}", json={"parent_id": shop, "name": "cups"})
    ).status_code == 200
    assert (await mine.delete(f"/collections/{shop}")).status_code == 204
    assert await tree(mine) == {"Archive": (None, 0)}, "what lies in a collection goes with it"
    refused(await mine.delete(f"/collections/{shop}"), 404, "collection_not_found")
    refused(await mine.patch(f"/collections/{mugs}", json={"name": "x"}), 404, "collection_not_found")


async def test_there_is_no_third_level_and_no_circle(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    top, other = await create(mine, "Top"), await create(mine, "Other")
    inner = await create(mine, "Inner", top)
    for answer in (
        await mine.post("/collections", json={"name": "Third", "parent_id": inner}),
        await mine.patch(f"/collections/{top}", json={"parent_id": other}),
        await mine.patch(f"/collections/{top}", json={"parent_id": inner}),
        await mine.patch(f"/collections/{top}", json={"parent_id": top}),
        await mine.patch(f"/collections/{other}", json={"parent_id": inner}),
    ):
        refused(answer, 409, "collection_too_deep")
    refused(
        await mine.post("/collections", json={"name": "x", "parent_id": str(uuid4())}),
        404,
        "collection_not_found",
    )


async def test_moves_that_would_meet_make_no_circle(mine: httpx.AsyncClient) -> None:
    one, two = await create(mine, "One"), await create(mine, "Two")
    answers = await asyncio.gather(
        mine.patch(f"/collections/{one}", json={"parent_id": two}),
        mine.patch(f"/collections/{two}", json={"parent_id": one}),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Mugs", "mugs"),
        ("Äpfel", "äPFEL"),
        ("ﬁles", "FILES"),
        ("ＭＵＧＳ", "mugs"),
        ("e\u0301te", "\u00e9TE"),
    ],
)
async def test_a_name_is_unique_in_its_place(mine: httpx.AsyncClient, first: str, second: str) -> None:
    made = await create(mine, first)
    refused(await mine.post("/collections", json={"name": second}), 409, "collection_exists")
    inner = await create(mine, second, made)
    refused(await mine.patch(f"/collections/{inner}", json={"parent_id": None}), 409, "collection_exists")
    assert (await mine.patch(f"/collections/{made}", json={"name": second})).status_code == 200
    assert len(await tree(mine)) <= 2


async def test_of_two_of_one_name_at_once_one_is_made(mine: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(mine.post("/collections", json={"name": "Mugs"}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x00b", "a\nb", "\x7f", 7, None])
async def test_a_name_that_is_none_is_refused(mine: httpx.AsyncClient, name: object) -> None:
    answer = await mine.post("/collections", json={"name": name})
    refused(answer, 422, "invalid_request")


async def test_half_a_character_is_refused(mine: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    refused(
        await mine.post("/collections", content=rb'{"name": "\ud800"}', headers=headers),
        422,
        "invalid_request",
    )


@pytest.mark.parametrize("name", ["x" * 80, "🦄", "../../etc", "<b>", "%00", "'; --", "\u202eabc"])
async def test_any_other_name_comes_back_as_it_was(mine: httpx.AsyncClient, name: str) -> None:
    await create(mine, name)
    assert list(await tree(mine)) == [name]


async def test_there_is_an_end_to_collections(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    await shelf.db.execute(
        "insert into public.collections (user_id, name) select $1, 'c' || n from generate_series(1, 500) n",
        shelf.user_id,
    )
    refused(await mine.post("/collections", json={"name": "one more"}), 409, "too_many_collections")


async def test_an_image_lies_in_many_and_outlives_them(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    mug = await shelf.image("mug.jpg", created_at=NOON)
    cat = await shelf.image("cat.jpg", created_at=NOON.replace(year=2025))
    one, two = await create(mine, "One"), await create(mine, "Two")
    for collection, image in ((one, mug), (one, mug), (one, cat), (two, mug)):
        assert (await mine.put(f"/collections/{collection}/images/{image}")).status_code == 204
    assert await tree(mine) == {"One": (None, 2), "Two": (None, 1)}
    assert await names(mine, collection_id=one) == ["mug.jpg", "cat.jpg"]
    assert await names(mine, collection_id=two) == ["mug.jpg"]
    assert (await mine.get(f"/images/{mug}")).json()["collection_ids"] == [one, two]
    assert (await mine.post(f"/images/{mug}/archive")).status_code == 204
    assert await tree(mine) == {"One": (None, 1), "Two": (None, 0)}, "counted as listed"
    assert await names(mine, collection_id=one, archived="all") == ["mug.jpg", "cat.jpg"]
    for _ in range(2):
        assert (await mine.delete(f"/collections/{one}/images/{cat}")).status_code == 204
    assert await names(mine, collection_id=one, archived="all") == ["mug.jpg"]
    assert (await mine.delete(f"/collections/{one}")).status_code == 204
    assert sorted(await names(mine, archived="all")) == ["cat.jpg", "mug.jpg"]
    assert (await mine.get(f"/images/{mug}")).json()["collection_ids"] == [two]


async def test_a_deletion_is_audited(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    top = await create(mine, "Top")
    await create(mine, "Inner", top)
    await mine.delete(f"/collections/{top}")
    rows = await shelf.db.fetch(
        "select action, data->>'nested' as nested from public.audit_log where actor = $1 and subject = $2",
        shelf.user_id,
        top,
    )
    assert [tuple(row) for row in rows] == [("collection.delete", "1")]


async def test_other_peoples_are_not_there(
    mine: httpx.AsyncClient, theirs: httpx.AsyncClient, shelf: Shelf
) -> None:
    image = await shelf.image()
    collection = await create(mine, "Mine")
    their_own = await create(theirs, "Theirs")
    assert await tree(theirs) == {"Theirs": (None, 0)}
    calls: list[tuple[str, str, dict[str, Any] | None, str]] = [
        ("PATCH", f"/collections/{collection}", {"name": "x"}, "collection_not_found"),
        ("PATCH", f"/collections/{their_own}", {"parent_id": collection}, "collection_not_found"),
        ("POST", "/collections", {"name": "x", "parent_id": collection}, "collection_not_found"),
        ("DELETE", f"/collections/{collection}", None, "collection_not_found"),
        ("PUT", f"/collections/{collection}/images/{image}", None, "collection_not_found"),
        ("DELETE", f"/collections/{collection}/images/{image}", None, "collection_not_found"),
        ("PUT", f"/collections/{their_own}/images/{image}", None, "image_not_found"),
        ("DELETE", f"/collections/{their_own}/images/{image}", None, "image_not_found"),
    ]
    for method, path, body, code in calls:
        refused(await theirs.request(method, path, json=body), 404, code)
    assert await tree(mine) == {"Mine": (None, 0)}
    assert await tree(theirs) == {"Theirs": (None, 0)}

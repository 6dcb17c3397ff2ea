"""The picture behind a link comes through Darkroom: no id and no address of Storage reaches a stranger."""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import uuid
from typing import Any, TypeAlias

import asyncpg
import httpx
import pytest
from PIL import Image
from redis.asyncio import Redis

from scripts.local.home import Local
from service.intake.hits import hit_key
from service.resources import Resources
from service.sharing.tickets import is_valid, ticket
from service.storage import MAX_PASSING, StorageBusyError
from tests.client import Client
from tests.leaks import texts_of
from tests.sharing.conftest import Sharer
from tests.sharing.test_links import end, refused, views
from tests.sharing.test_pages import PAGE, Tags
from tests.support import User

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def opened(visitor: httpx.AsyncClient, link: dict[str, Any]) -> str:
    """The address of the picture of a link that has just been opened."""
    answer = await visitor.get(link["url"])
    assert answer.status_code == 302
    return str(answer.headers["location"])


async def test_nothing_that_a_stranger_gets_names_anything_of_the_owners(  # noqa: PLR0917
    share: Sharer, visitor: httpx.AsyncClient, user: User, local: Local, db: Connection, output_id: str
) -> None:
    link = await share()
    row = await db.fetchrow("select * from image_outputs where id = $1::uuid", output_id)
    assert row is not None
    hidden = [str(row[name]) for name in ("id", "job_id", "image_id", "user_id", "path", "thumb_path")]
    hidden += [str(user.id), link["share_id"], local.supabase_url, row["input_sha256"]]
    page = await visitor.get(link["url"], headers=PAGE)
    [img], [save] = Tags(page.text).of("img"), Tags(page.text).of("a")
    answers = [page, await visitor.get(link["url"]), await visitor.head(link["url"])]
    answers += [await visitor.get(str(url)) for url in (img["src"], save["href"])]
    answers.append(await visitor.get(str(img["src"]), headers={"Range": "bytes=0-9"}))
    for answer in answers:
        assert answer.status_code in {200, 206, 302}
        told = " ".join(texts_of(answer))
        assert [one for one in hidden if one in told] == []


async def test_a_picture_is_whole_typed_and_sized(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection, output_id: str
) -> None:
    link = await share()
    url = await opened(visitor, link)
    assert re.fullmatch(re.escape(link["url"]) + r"/picture\?ticket=\d+\.[\w-]{22}", url)
    row = await db.fetchrow("select * from image_outputs where id = $1::uuid", output_id)
    assert row is not None
    answer = await visitor.get(url)
    assert (answer.status_code, len(answer.content)) == (200, row["size"])
    assert Image.open(io.BytesIO(answer.content)).size == (64, 48)
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["content-length"] == str(row["size"])
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''lamp.webp"
    saved = await visitor.get(url.replace("/picture?", "/download?"))
    assert saved.headers["content-disposition"] == "attachment; filename*=UTF-8''lamp.webp"
    assert saved.content == answer.content
    # Looked at as often as the browser likes: one view.
    assert await views(db, link) == 1


async def test_conditions_and_ranges(share: Sharer, visitor: httpx.AsyncClient) -> None:
    url = await opened(visitor, await share())
    whole = await visitor.get(url)
    size, etag = len(whole.content), whole.headers["etag"]
    for told in (etag, f'W/{etag}, "x"', "*"):
        same = await visitor.get(url, headers={"If-None-Match": told})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert (await visitor.get(url, headers={"If-None-Match": '"x"'})).status_code == 200
    ranges = {
        "bytes=0-9": slice(0, 10),
        "bytes=10-": slice(10, None),
        "bytes=-7": slice(-7, None),
        "bytes=0-999999": slice(0, None),
        "bytes=-999999": slice(0, None),
    }
    for wanted, part in ranges.items():
        some = await visitor.get(url, headers={"Range": wanted})
        assert (some.status_code, some.content) == (206, whole.content[part])
        assert int(some.headers["content-length"]) == len(some.content)
        first = whole.content.index(some.content)
        assert some.headers["content-range"] == f"bytes {first}-{first + len(some.content) - 1}/{size}"
    late = await visitor.get(url, headers={"Range": f"bytes={size}-"})
    assert refused(late) == (416, "range_not_satisfiable")
    assert late.headers["content-range"] == f"bytes */{size}"
    for headers in (
        {"Range": "lines=1-2"},
        {"Range": "bytes=9-1"},
        {"Range": "bytes=-"},
        {"Range": "bytes=0-1,4-5"},
    ):
        assert (await visitor.get(url, headers=headers)).content == whole.content
    changed = await visitor.get(url, headers={"Range": "bytes=0-9", "If-Range": '"x"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    going_on = await visitor.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})
    assert going_on.status_code == 206


async def test_without_a_ticket_one_goes_through_the_door(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection, resources: Resources
) -> None:
    link, other = await share(password="open sesame"), await share()
    secret, token = resources.settings.secret, link["url"].removeprefix("/s/")
    good = ticket(secret, token, 60)
    assert is_valid(secret, token, good)
    bad = [
        "",
        "x",
        "9" * 13,
        good[:-1],
        f"9{good}",
        ticket(secret, token, 0),
        ticket(secret, other["url"][3:], 60),
    ]
    for shown in bad:
        for part in ("picture", "download"):
            back = await visitor.get(f"{link['url']}/{part}", params={"ticket": shown})
            assert (back.status_code, back.headers["location"]) == (302, link["url"])
    assert (await visitor.get(f"{link['url']}/picture", params={"ticket": good})).status_code == 200
    assert await views(db, link) == 0
    foreign = await visitor.get(
        "/s/" + "E" * 22 + "/picture", params={"ticket": ticket(secret, "E" * 22, 60)}
    )
    assert refused(foreign) == (404, "share_not_found")


async def test_what_ends_a_link_ends_its_picture(
    share: Sharer, visitor: httpx.AsyncClient, user_client: Client, db: Connection
) -> None:
    revoked, expired, used = await share(), await share(), await share(max_views=1)
    urls = {link["url"]: await opened(visitor, link) for link in (revoked, expired, used)}
    await user_client.http.delete(f"/shares/{revoked['share_id']}")
    assert refused(await visitor.get(urls[revoked["url"]])) == (410, "share_revoked")
    await end(db, "share_links", expired["share_id"], "expires_at")
    assert refused(await visitor.get(urls[expired["url"]])) == (410, "share_expired")
    # The last view is still being looked at, and gives no other.
    assert (await visitor.get(urls[used["url"]])).status_code == 200
    assert refused(await visitor.get(used["url"])) == (410, "share_used_up")
    await end(db, "image_outputs", used["output_id"], "expires_at")
    assert refused(await visitor.get(urls[used["url"]])) == (410, "output_expired")


async def test_a_picture_whose_object_is_gone_is_buried(
    share: Sharer, visitor: httpx.AsyncClient, resources: Resources, db: Connection, redis_client: Redis
) -> None:
    link = await share()
    url = await opened(visitor, link)
    row = await db.fetchrow("select * from image_outputs where id = $1::uuid", link["output_id"])
    assert row is not None
    hot = hit_key(row["cache_key"].hex(), row["owner_id"])
    await redis_client.set(hot, b"an answer that leads there", ex=60)
    await resources.storage.remove(row["bucket"], [row["path"]])
    assert refused(await visitor.get(url)) == (410, "output_expired")
    assert await redis_client.get(hot) is None
    buried = "select deleted_at is not null from image_outputs where id = $1"
    assert await db.fetchval(buried, row["id"])


async def test_a_large_object_is_passed_on_piece_by_piece_and_only_so_many_at_once(
    resources: Resources,
) -> None:
    """Nothing is read that the reader does not take, and slow readers leave connections for everybody else."""
    data = secrets.token_bytes(8_000_000)
    path = f"{uuid.uuid4()}.webp"
    await resources.storage.upload("outputs-ephemeral", path, data, "image/webp")
    async with resources.storage.stream("outputs-ephemeral", path) as found:
        sizes = [len(chunk) async for chunk in found.chunks]
    assert (sum(sizes), max(sizes) <= 65_536, found.partial) == (len(data), True, False)

    reading, go = asyncio.Barrier(MAX_PASSING + 1), asyncio.Event()

    async def read_slowly() -> int:
        async with resources.storage.stream("outputs-ephemeral", path, (0, 99)) as found:
            await reading.wait()
            await go.wait()
            return sum([len(chunk) async for chunk in found.chunks])

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        readers = [group.create_task(read_slowly()) for _ in range(MAX_PASSING)]
        await reading.wait()
        with pytest.raises(StorageBusyError):
            async with resources.storage.stream("outputs-ephemeral", path):
                pass
        assert await resources.storage.info("outputs-ephemeral", path) is not None
        go.set()
    assert {reader.result() for reader in readers} == {100}

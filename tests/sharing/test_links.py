"""A link's life: made by its owner, opened by anybody, refused with a code that says why."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from PIL import Image

from scripts.local.home import Local
from scripts.local.process import unmeasured
from scripts.local.stack import Stack
from service.cache.store import Outputs
from service.library.errors import output_not_found
from service.platform.errors import ProblemError, overloaded
from service.platform.resources import Platform
from service.sharing.links import ADDRESS_GUESSES, GUESSES, LINK_GUESSES, PASSWORDS, SITE_GUESSES, make
from service.sharing.passwords import MOST, _place, hash_password
from service.sharing.schemas import ShareRequest
from tests.client import Client
from tests.sharing.conftest import Sharer
from tests.support import User, sign_up
from workers.cleanup import cleanup

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Door: TypeAlias = Callable[..., Awaitable[httpx.Response]]
PAGE = {"Accept": "text/html,application/xhtml+xml"}


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def views(db: Connection, link: dict[str, Any]) -> int:
    return int(await db.fetchval("select views from share_links where id = $1::uuid", link["share_id"]))


async def end(db: Connection, table: str, row_id: str, column: str, shift: str = "-1 second") -> None:
    await db.execute(
        f"update {table} set {column} = now() + $2::text::interval where id = $1::uuid", row_id, shift
    )


async def test_a_link_leads_to_the_picture_and_counts(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection, output_id: str
) -> None:
    link = await share()
    assert re.fullmatch(r"/s/[\w-]{22}", link["url"], re.ASCII)
    assert (link["views"], link["max_views"], link["status"]) == (0, None, "active")
    opened = await visitor.get(link["url"])
    assert opened.status_code == 302
    assert opened.headers["x-robots-tag"] == "noindex, nofollow"
    assert (opened.headers["cache-control"], opened.headers["referrer-policy"]) == ("no-store", "no-referrer")
    picture = await visitor.get(opened.headers["location"])
    assert Image.open(io.BytesIO(picture.content)).size == (64, 48)
    row = await db.fetchrow("select * from share_links where id = $1::uuid", link["share_id"])
    assert row is not None
    assert (row["views"], str(row["output_id"])) == (1, output_id)
    assert row["last_viewed_at"] is not None


async def test_only_a_digest_of_the_token_is_kept(
    share: Sharer, local: Local, db: Connection, user: User
) -> None:
    link = await share(password="correct horse")
    token = link["url"].removeprefix("/s/")
    secret = await db.fetchrow("select * from share_secrets where share_id = $1::uuid", link["share_id"])
    assert secret is not None
    assert secret["token_hash"] == hashlib.sha256(token.encode()).digest()
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", secret["password_hash"])
    async with httpx.AsyncClient(
        base_url=f"{local.supabase_url}/rest/v1",
        headers={"apikey": local.publishable_key} | user.bearer,
        trust_env=False,
    ) as rest:
        rows = (await rest.get("/share_links", params={"select": "*"})).json()
        assert [row["id"] for row in rows] == [link["share_id"]]
        assert not any("hash" in name for name in rows[0])
        assert (await rest.get("/share_secrets")).status_code == 403


async def test_the_url_outlives_neither_the_link_nor_the_picture(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection, output_id: str
) -> None:
    async def seconds(link: dict[str, Any]) -> float:
        location = (await visitor.get(link["url"])).headers["location"]
        return int(re.search(r"ticket=(\d+)\.", location)[1]) - time.time()  # type: ignore[index]

    assert 290 <= await seconds(await share()) <= 300
    short = await share(expires_in=60)
    assert 50 <= await seconds(short) <= 60
    await end(db, "image_outputs", output_id, "expires_at", "30 seconds")
    assert 20 <= await seconds(short) <= 30


async def test_each_end_has_its_own_answer(
    share: Sharer, visitor: httpx.AsyncClient, user_client: Client, db: Connection
) -> None:
    expired, revoked, used = await share(), await share(), await share(max_views=1)
    await end(db, "share_links", expired["share_id"], "expires_at")
    assert refused(await visitor.get(expired["url"])) == (410, "share_expired")

    assert (await visitor.get(revoked["url"])).status_code == 302
    gone = await user_client.http.delete(f"/shares/{revoked['share_id']}")
    assert (gone.status_code, gone.json()["status"]) == (200, "share_revoked")
    assert refused(await visitor.get(revoked["url"])) == (410, "share_revoked")
    assert (await user_client.http.delete(f"/shares/{revoked['share_id']}")).json() == gone.json()

    assert (await visitor.get(used["url"])).status_code == 302
    assert refused(await visitor.get(used["url"])) == (410, "share_used_up")
    assert [await views(db, link) for link in (expired, revoked, used)] == [0, 1, 1]
    for guess in ("/s/" + "A" * 22, "/s/short", "/s/" + "A" * 2000, "/s/%00", "/s/Ä" + "A" * 21):
        assert refused(await visitor.get(guess)) == (404, "share_not_found")


@pytest.mark.parametrize("how", ["expired", "buried", "deleted", "object gone"])
async def test_a_picture_that_is_gone(
    share: Sharer, visitor: httpx.AsyncClient, platform: Platform, db: Connection, how: str
) -> None:
    link = await share()
    output_id = link["output_id"]
    row = await db.fetchrow("select * from image_outputs where id = $1::uuid", output_id)
    assert row is not None
    if how == "expired":
        await end(db, "image_outputs", output_id, "expires_at")
    elif how == "buried":
        await Outputs(platform.database).bury(row["id"])
    elif how == "deleted":
        assert await db.fetchval("select delete_image($1, $2)", row["image_id"], row["user_id"]) is not None
        await db.execute(
            "delete from jobs where output_id = $1", row["id"]
        )  # as a wipe does: no job without its output
        await db.execute("delete from image_outputs where id = $1", row["id"])
    else:
        await platform.storage.remove(row["bucket"], [row["path"]])
    for _ in range(2):
        assert refused(await visitor.get(link["url"])) == (410, "output_expired")
    assert await views(db, link) == 0


async def test_passwords(share: Sharer, visitor: httpx.AsyncClient, db: Connection) -> None:
    link = await share(password="Käse & Brot")
    needed = await visitor.get(link["url"])
    assert refused(needed) == (401, "password_required")
    assert "Bearer" not in needed.headers["www-authenticate"]
    assert refused(await visitor.post(link["url"])) == (401, "password_required")
    assert refused(await visitor.post(link["url"], data={"password": "kase"})) == (403, "wrong_password")
    assert await views(db, link) == 0
    for spelling in ("Käse & Brot", "Ka\u0308se & Brot"):
        opened = await visitor.post(link["url"], data={"password": spelling})
        assert opened.status_code == 303
        assert (await visitor.get(opened.headers["location"])).status_code == 200
    assert await views(db, link) == 2


@pytest.fixture(scope="module")
async def behind_proxy(stack: Stack) -> AsyncIterator[str]:
    """An API that a proxy tells of addresses, and that has one of its own for the public."""
    env = {"DARKROOM_TRUSTED_HOPS": "1", "DARKROOM_RATE_PER_IP_MINUTE": "1000"}
    api = await stack.start_api({**env, "DARKROOM_PUBLIC_URL": "https://images.example.org/"})
    yield api.url
    await api.stop()


@pytest.fixture
async def door(behind_proxy: str) -> AsyncIterator[Door]:
    """Tries a password at a link from an address of the test's choice."""
    async with httpx.AsyncClient(base_url=behind_proxy, trust_env=False, timeout=60) as client:
        own = f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(256)}"

        async def guess(url: str, password: str, ip: str = own, **headers: str) -> httpx.Response:
            return await client.post(
                url, data={"password": password}, headers={"X-Forwarded-For": ip} | headers
            )

        yield guess


class Refill:
    """How many requests a limit may have let through since this was made: its burst, and what came back meanwhile."""

    def __init__(self, burst: int, period_s: float) -> None:
        self.burst, self.interval, self.began = burst, period_s / burst, time.monotonic()

    def allows(self, passed: int) -> bool:
        return self.burst <= passed <= self.burst + 1 + (time.monotonic() - self.began) / self.interval


async def test_guesses_are_limited_by_link_and_address(door: Door, share: Sharer) -> None:
    link, other = await share(password="open sesame"), await share(password="open sesame")
    for _ in range(3):  # what was right counts for nothing
        assert (await door(link["url"], "open sesame")).status_code == 303
    refill, passed = Refill(GUESSES, 600), 0
    while refused(await door(link["url"], "wrong")) == (403, "wrong_password"):
        passed += 1
    assert refill.allows(passed)
    assert (await door(link["url"], "open sesame", "198.51.100.1")).status_code == 303
    assert (await door(other["url"], "open sesame")).status_code == 303


async def test_guesses_sent_at_once_count_as_well(door: Door, share: Sharer) -> None:
    link = await share(password="open sesame")
    answers = await asyncio.gather(*(door(link["url"], "wrong") for _ in range(30)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {403, 429}
    assert statuses.count(403) < GUESSES * 2  # some come back meanwhile


async def _guesses(door: Door, url: str, addresses: Iterable[str]) -> list[int]:
    return [(await door(url, "wrong", address)).status_code for address in addresses]


async def test_hosts_of_a_site_share_their_guesses(door: Door, share: Sharer) -> None:
    """Its /48, of which a provider gives its customers /64s; of IPv4 the test below says the same."""
    link = await share(password="open sesame")
    hosts = (f"2001:db8:1:{host:x}::1" for host in range(1, SITE_GUESSES + 4))
    assert await _guesses(door, link["url"], hosts) == [403] * SITE_GUESSES + [429] * 3


async def test_guesses_of_the_whole_world_are_limited_by_link_and_day(
    door: Door, share: Sharer, user_client: Client, visitor: httpx.AsyncClient
) -> None:
    """However many networks an attacker has: one of them gets half of a day's guesses, all of them the whole."""
    link, other = await share(password="open sesame"), await share(password="open sesame")

    async def guesses(site: int) -> list[int]:
        return await _guesses(
            door, link["url"], (f"10.{site}.0.{host}" for host in range(1, SITE_GUESSES + 6))
        )

    assert await guesses(1) == [403] * SITE_GUESSES + [429] * 5
    assert await listed(user_client, link) == ("active", None)
    second = await guesses(2)
    assert second == [403] * (LINK_GUESSES - SITE_GUESSES) + [429] * 5
    elsewhere = "10.3.0.1"
    locked = await door(link["url"], "open sesame", elsewhere)
    assert refused(locked) == (429, "share_locked")
    assert 0 < int(locked.headers["retry-after"]) <= 86_400 / LINK_GUESSES
    page = await door(link["url"], "open sesame", elsewhere, Accept="text/html")
    assert (page.status_code, "Too many wrong passwords" in page.text) == (429, True)
    assert (await door(other["url"], "open sesame", elsewhere)).status_code == 303

    status, until = await listed(user_client, link)
    assert (status, until is not None) == ("active", True)
    renewed = await user_client.http.post(f"/shares/{link['share_id']}/renew")
    assert renewed.status_code == 200
    assert renewed.json()["share_id"] == link["share_id"]
    assert (await listed(user_client, link)) == ("active", None)
    assert (await visitor.get(link["url"])).status_code == 404
    assert (await door(renewed.json()["url"], "open sesame", elsewhere)).status_code == 303


async def listed(owner: Client, link: dict[str, Any]) -> tuple[str, str | None]:
    """What the owner is told of a link: its status, and until when it takes no password."""
    shares = (await owner.http.get(f"/outputs/{link['output_id']}/shares")).json()["shares"]
    [found] = [one for one in shares if one["share_id"] == link["share_id"]]
    return found["status"], found["locked_until"]


async def test_one_address_guesses_at_so_many_links(door: Door, share: Sharer) -> None:
    links = [await share(password="open sesame") for _ in range(10)]
    refill = Refill(ADDRESS_GUESSES, 600)
    answers = [(await door(link["url"], "wrong")).status_code for link in links for _ in range(GUESSES // 2)]
    assert set(answers) == {403, 429}
    assert refill.allows(answers.count(403))


async def test_a_short_password_of_an_older_link_goes_on_working(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection
) -> None:
    link = await share(password="open sesame")
    await db.execute(
        "update share_secrets set password_hash = $2 where share_id = $1::uuid",
        link["share_id"],
        await hash_password("1234", "test"),
    )
    assert (await visitor.post(link["url"], data={"password": "1234"})).status_code == 303


async def test_nothing_is_hashed_for_an_output_that_is_not_there(
    platform: Platform, user: User, output_id: str
) -> None:
    """With no place left for hashing, an output that cannot be shared is still refused for that alone."""
    wanted = ShareRequest(expires_in=3600, password="open sesame")
    with ExitStack() as places:
        for number in range(MOST):
            places.enter_context(_place(f"caller {number}"))
        for _ in range(PASSWORDS + 1):
            with pytest.raises(ProblemError) as missing:
                await make(platform, uuid4(), user.id, wanted)
            assert missing.value.code is output_not_found
        with pytest.raises(ProblemError) as full:
            await make(platform, UUID(output_id), user.id, wanted)
        assert full.value.code is overloaded
    row, _ = await make(platform, UUID(output_id), user.id, wanted)
    assert row.has_password


async def test_a_user_makes_so_many_passwords(share: Sharer, user_client: Client, output_id: str) -> None:
    refill, made = Refill(PASSWORDS, 600), 0
    wanted = {"expires_in": 3600, "password": "open sesame"}
    answer = await user_client.http.post(f"/outputs/{output_id}/share", json=wanted)
    while answer.status_code == 201:
        made += 1
        answer = await user_client.http.post(f"/outputs/{output_id}/share", json=wanted)
    assert refused(answer) == (429, "rate_limited")
    assert refill.allows(made)
    await share()


async def test_only_a_live_link_of_ones_own_is_renewed(
    share: Sharer, user_client: Client, visitor: httpx.AsyncClient, local: Local, db: Connection
) -> None:
    link = await share()
    path = f"/shares/{link['share_id']}/renew"
    assert refused(await visitor.post(path)) == (401, "sign_in_required")
    stranger = (await sign_up(local)).bearer
    assert refused(await visitor.post(path, headers=stranger)) == (404, "share_not_found")
    assert refused(await user_client.http.post(f"/shares/{uuid4()}/renew")) == (404, "share_not_found")
    assert (await visitor.get(link["url"])).status_code == 302
    renewed = (await user_client.http.post(path)).json()
    assert (await visitor.get(renewed["url"])).status_code == 302
    assert await views(db, link) == 2
    await user_client.http.delete(f"/shares/{link['share_id']}")
    assert refused(await user_client.http.post(path)) == (410, "share_revoked")


async def test_the_door_is_limited_by_address(stack: Stack) -> None:
    env = {"DARKROOM_TRUSTED_HOPS": "1", "DARKROOM_RATE_PER_IP_MINUTE": "5"}
    api = await stack.start_api({**env, **unmeasured()})
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        headers = {"X-Forwarded-For": "203.0.113.99"}
        url = "/s/" + "B" * 22
        answers = [(await client.get(url, headers=headers)).status_code for _ in range(6)]
        assert answers == [404] * 5 + [429]
        page = await client.get(url, headers=headers | PAGE)
        assert page.status_code == 429
        assert page.headers["content-type"].startswith("text/html")
        assert int(page.headers["retry-after"]) > 0
    await api.stop()


@pytest.mark.parametrize("max_views", [1, 7])
async def test_of_fifty_at_once_as_many_succeed_as_may(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection, max_views: int
) -> None:
    link = await share(max_views=max_views)
    answers = await asyncio.gather(*(visitor.get(link["url"]) for _ in range(50)))
    assert [answer.status_code for answer in answers].count(302) == max_views
    assert {refused(answer) for answer in answers if answer.status_code != 302} == {(410, "share_used_up")}
    assert await views(db, link) == max_views


async def test_every_view_of_many_is_counted(
    share: Sharer, visitor: httpx.AsyncClient, db: Connection
) -> None:
    link = await share()
    answers = await asyncio.gather(*(visitor.get(link["url"]) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {302}
    assert await views(db, link) == 50


async def test_head_tells_whether_it_would_open_and_counts_nothing(
    share: Sharer, visitor: httpx.AsyncClient, user_client: Client, db: Connection
) -> None:
    link = await share(max_views=1)
    told = await visitor.head(link["url"])
    assert told.status_code == 200
    assert "location" not in told.headers
    assert await views(db, link) == 0
    assert (await visitor.head((await share(password="open sesame"))["url"])).status_code == 401
    await user_client.http.delete(f"/shares/{link['share_id']}")
    assert (await visitor.head(link["url"])).status_code == 410
    assert (await visitor.head("/s/" + "C" * 22)).status_code == 404


async def test_only_the_owner_makes_lists_and_revokes(
    user_client: Client, visitor: httpx.AsyncClient, local: Local, share: Sharer, output_id: str
) -> None:
    link = await share()
    stranger = (await sign_up(local)).bearer
    wanted = {"expires_in": 60}
    for headers in ({}, stranger):
        refusals = [
            refused(await visitor.post(f"/outputs/{output_id}/share", json=wanted, headers=headers)),
            refused(await visitor.get(f"/outputs/{output_id}/shares", headers=headers)),
            refused(await visitor.delete(f"/shares/{link['share_id']}", headers=headers)),
        ]
        hidden = [(404, "output_not_found"), (404, "output_not_found"), (404, "share_not_found")]
        assert refusals == (hidden if headers else [(401, "sign_in_required")] * 3)
    assert refused(await user_client.http.post(f"/outputs/{uuid4()}/share", json=wanted)) == (
        404,
        "output_not_found",
    )
    assert (await visitor.get(link["url"])).status_code == 302
    [listed] = (await user_client.http.get(f"/outputs/{output_id}/shares")).json()["shares"]
    assert (listed["share_id"], listed["views"]) == (link["share_id"], 1)
    assert "url" not in listed


async def test_an_output_that_is_gone_cannot_be_shared(
    user_client: Client, platform: Platform, db: Connection, output_id: str
) -> None:
    await end(db, "image_outputs", output_id, "expires_at")
    answer = await user_client.http.post(f"/outputs/{output_id}/share", json={"expires_in": 60})
    assert refused(answer) == (410, "output_expired")


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"expires_in": 59},
        {"expires_in": 30 * 86_400 + 1},
        {"expires_in": 60, "max_views": 0},
        {"expires_in": 60, "password": "a" * 7},
        {"expires_in": 60, "password": "a" * 129},
        {"expires_in": 60, "surprise": 1},
    ],
)
async def test_what_a_link_may_be(user_client: Client, output_id: str, wanted: dict[str, Any]) -> None:
    answer = await user_client.http.post(f"/outputs/{output_id}/share", json=wanted)
    assert refused(answer) == (422, "invalid_request")


async def test_making_and_revoking_leave_a_trace(share: Sharer, user_client: Client, db: Connection) -> None:
    link = await share(max_views=3, password="open sesame")
    await user_client.http.delete(f"/shares/{link['share_id']}")
    await user_client.http.delete(f"/shares/{link['share_id']}")
    rows = await db.fetch("select * from audit_log where subject = $1 order by id", link["share_id"])
    assert [row["action"] for row in rows] == ["share.create", "share.revoke"]
    assert not any("sesame" in row["data"] or link["url"][3:] in row["data"] for row in rows)


async def test_the_cleanup_forgets_links_a_month_after_their_end(
    share: Sharer, user_client: Client, visitor: httpx.AsyncClient, platform: Platform, db: Connection
) -> None:
    old, fresh, revoked = await share(), await share(), await share()
    await end(db, "share_links", old["share_id"], "expires_at", "-31 days")
    await end(db, "share_links", fresh["share_id"], "expires_at", "-29 days")
    await end(db, "share_links", revoked["share_id"], "revoked_at", "-31 days")
    await cleanup(platform)
    kept = await db.fetch(
        "select share_id::text from share_secrets where share_id = any ($1::uuid[])",
        [link["share_id"] for link in (old, fresh, revoked)],
    )
    assert [row["share_id"] for row in kept] == [fresh["share_id"]]
    assert refused(await visitor.get(old["url"])) == (404, "share_not_found")


async def test_public_url_makes_addresses_absolute(
    behind_proxy: str, user: User, output_id: str, visitor: httpx.AsyncClient
) -> None:
    async with httpx.AsyncClient(base_url=behind_proxy, headers=user.bearer, trust_env=False) as client:
        link = (await client.post(f"/outputs/{output_id}/share", json={"expires_in": 60})).json()
    assert re.fullmatch(r"https://images\.example\.org/s/[\w-]{22}", link["url"])
    assert (await visitor.get(httpx.URL(link["url"]).path)).status_code == 302

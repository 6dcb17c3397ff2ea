"""The sample account of a local stack: a Pro plan with a library, collections, versions, a team, a link and a key.

It is made once for each home. What its user deletes afterwards stays deleted; an interrupted filling is taken up again
at the next start, where every step first looks whether it has been done.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from pydantic import BaseModel
from rich.progress import Progress

from scripts.local.demo import SAMPLE, Demo, Photo, stamped_sample
from scripts.local.home import Home, Local, write_private
from scripts.local.process import StackError
from scripts.local.products import PRODUCTS, photograph

EMAIL = "sample@example.com"
COLLEAGUE = "colleague@example.com"
PLAN = "pro"
TEAM = "Studio"
KEY = "Shop importer"
_AT_ONCE = 2
_DAYS = 30

# What is made of each picture first, by file name; what is made of it again, as further versions.
_FIRST = "bgremove-v2+shadow-v1+flatten-v1"
_OPS = {
    "brick-mug.jpg": "compose-v1:color-f1e7da",
    "moss-mug.jpg": "bgremove-v2",
    "tall-vase-ink.jpg": "compose-v1:color-e9dcc4:style-gradient",
    "wide-bowl-sea.jpg": "bgremove-v2+shadow-v1:kind-contact+flatten-v1:color-f4f1ec",
    "oil-bottle-plum.jpg": "enhance-v1+crop-v1:aspect-4x5",
    "candlestick-slate.jpg": "resize-v1:height-900:width-900:fit-cover",
    SAMPLE.name: "bgremove-v2+shadow-v1+flatten-v1",
}
_AGAIN = {
    "harbour-mug.jpg": ["compose-v1", "bgremove-v2+shadow-v1:kind-contact+flatten-v1:color-pink"],
    "tall-vase-terracotta.jpg": ["enhance-v1"],
    "storage-jar.jpg": ["compose-v1:color-dfe6e2", "watermark-v1:text-_studio"],
}
_COLLECTIONS: tuple[tuple[str, str | None, str], ...] = (
    ("Kitchen", None, "bowl bottle jar"),
    ("Mugs", "Kitchen", "mug sample"),
    ("Living room", None, "vase candlestick"),
)
"""Name, the collection it lies in, words of the file names that belong into it."""
_TEAM_PICTURES = ("oil-bottle-green.jpg", "candlestick-coral.jpg")


class Sample(BaseModel):
    """sample.json: how to get in, and what the filled account has."""

    email: str
    password: str
    user_id: UUID
    api_key: str
    share_url: str


@dataclass(frozen=True)
class Session:
    """A user's session of Supabase Auth."""

    user_id: UUID
    token: str


async def open_account(auth_url: str, local: Local, password: str, email: str = EMAIL) -> Session:
    """Sign in, or sign up where there is no such account (any more)."""
    credentials = {"email": email, "password": password}
    headers = {"apikey": local.publishable_key}
    async with httpx.AsyncClient(base_url=auth_url, headers=headers, trust_env=False, timeout=30) as client:
        answer = await client.post("/auth/v1/token", params={"grant_type": "password"}, json=credentials)
        if answer.is_client_error:
            answer = await client.post("/auth/v1/signup", json=credentials)
        if answer.is_error:
            raise StackError(f"the sample account could not be opened: {answer.text[:300]}")
    body = answer.json()
    return Session(UUID(body["user"]["id"]), body["access_token"])


def filled(home: Home, session: Session) -> Sample | None:
    """What sample.json says, when it is about this account."""
    try:
        sample = Sample.model_validate_json(home.sample_json.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return sample if sample.user_id == session.user_id else None


async def give_plan(local: Local, session: Session) -> None:
    """The Pro plan, its credits and a month of use, once: as a subscriber would have them."""
    connection = await asyncpg.connect(local.database_url)
    try:
        async with connection.transaction():
            await connection.execute(
                "select public.set_plan($1, $2, 'the sample account')", session.user_id, PLAN
            )
            ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
            for amount, source, reference, until, note in (
                (1000, "subscription", "sample:month", ends, None),
                (50, "admin_grant", "sample:gift", None, "A gift for trying Darkroom"),
            ):
                await connection.execute(
                    "select public.grant_credits($1, $2, $3, $4, $5, $6)",
                    *(session.user_id, amount, source, reference, until, note),
                )
            await connection.execute(
                "select public.take_credits($1, 20, 'sample:correction', 'A correction')", session.user_id
            )
            await connection.executemany(
                "insert into public.usage_daily (user_id, day, jobs, generations, cache_hits, bytes_stored,"
                " bytes_served) values ($1, $2, $3, $3, $4, $5, $6) on conflict do nothing",
                list(_past_days(session.user_id)),
            )
    finally:
        await connection.close()


def _past_days(user_id: UUID) -> Iterable[tuple[object, ...]]:
    """Rows of `usage_daily` for the days before today."""
    today = dt.datetime.now(dt.UTC).date()
    for ago in range(1, _DAYS):
        jobs = (7 * ago * ago + 3) % 11
        hits = (5 * ago + 2) % 9
        yield user_id, today - dt.timedelta(days=ago), jobs, hits, jobs * 180_000, (jobs + hits) * 210_000


async def fill(
    home: Home, local: Local, session: Session, password: str, advance: Callable[[int, int], object]
) -> Sample:
    """Fill the account through the API, as a user would; `advance(done, steps)` is told of every step."""
    pictures: dict[str, Callable[[], bytes]] = {
        product.filename: partial(photograph, product) for product in PRODUCTS
    }
    pictures[SAMPLE.name] = stamped_sample
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        filling = _Filling(client, local, session.token, pictures, advance)
        sample = await filling.fill(session.user_id, password)
    write_private(home.sample_json, sample.model_dump_json(indent=2) + "\n")
    return sample


class _Filling:
    """One way through all steps."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        local: Local,
        token: str,
        pictures: Mapping[str, Callable[[], bytes]],
        advance: Callable[[int, int], object],
    ) -> None:
        self._client = client
        self._local = local
        self._demo = Demo(client, local.api_url, Progress(disable=True), token)
        self._pictures = pictures
        self._tell = advance
        self._done = 0

    def _advance(self, steps: int = 1) -> None:
        self._done += steps
        self._tell(self._done, len(self._pictures) + len(_AGAIN) + 4)

    async def fill(self, user_id: UUID, password: str) -> Sample:
        """Everything, in the order in which it depends on each other."""
        known = await self._images()
        for team in (await self._demo.call("GET", "/teams"))["teams"]:
            known |= await self._images(team["team_id"])
        missing = [name for name in self._pictures if name not in known]
        self._advance(len(self._pictures) - len(missing))
        room = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._develop(room, name) for name in missing))
        images = await self._images()
        await self._make_versions(images)
        await self._sort(images)
        await self._make_team(images, password)
        return Sample(
            email=EMAIL,
            password=password,
            user_id=user_id,
            api_key=await self._make_key(),
            share_url=await self._share(images["harbour-mug.jpg"]),
        )

    async def _images(self, team_id: str | None = None) -> dict[str, dict[str, Any]]:
        """The images that are there, by file name: the account's own, or a team's."""
        query = f"&team_id={team_id}" if team_id else ""
        page = await self._demo.call("GET", f"/images?limit=100&archived=all{query}")
        return {image["filename"]: image for image in page["images"]}

    async def _develop(self, room: asyncio.Semaphore, name: str) -> None:
        async with room:
            photo = Photo.of(name, await asyncio.to_thread(self._pictures[name]))
            await self._demo.put_through(photo, _OPS.get(name, _FIRST), wants_persist=True)
            self._advance()

    async def _make_versions(self, images: dict[str, dict[str, Any]]) -> None:
        for name, op_keys in _AGAIN.items():
            body = {"op_keys": op_keys}
            answer = await self._demo.call("POST", f"/images/{images[name]['image_id']}/rerun", body)
            for result in answer["results"]:
                if result.get("answer") and not result["answer"]["cached"]:
                    await self._demo.follow(result["answer"]["job_id"])
            self._advance()

    async def _sort(self, images: dict[str, dict[str, Any]]) -> None:
        """Collections, and the images that belong into them."""
        answer = await self._demo.call("GET", "/collections")
        ids = {collection["name"]: collection["collection_id"] for collection in answer["collections"]}
        for name, parent, words in _COLLECTIONS:
            if name not in ids:
                body = {"name": name, "parent_id": ids[parent] if parent else None}
                ids[name] = (await self._demo.call("POST", "/collections", body))["collection_id"]
            for filename, image in images.items():
                if any(word in filename for word in words.split()):
                    await self._demo.call("PUT", f"/collections/{ids[name]}/images/{image['image_id']}")
        self._advance()

    async def _make_team(self, images: dict[str, dict[str, Any]], password: str) -> None:
        """A team with a second member and two pictures of its own."""
        teams = {team["name"]: team for team in (await self._demo.call("GET", "/teams"))["teams"]}
        team = teams.get(TEAM) or await self._demo.call("POST", "/teams", {"name": TEAM})
        team_id = team["team_id"]
        members = (await self._demo.call("GET", f"/teams/{team_id}"))["members"]
        if len(members) < 2:
            await self._demo.call(
                "POST", f"/teams/{team_id}/invitations", {"email": COLLEAGUE, "role": "editor"}
            )
            colleague = await open_account(self._local.supabase_url, self._local, password, COLLEAGUE)
            theirs = Demo(self._client, self._local.api_url, Progress(disable=True), colleague.token)
            for invitation in (await theirs.call("GET", "/me/invitations"))["invitations"]:
                await theirs.call("POST", f"/invitations/{invitation['invitation_id']}/accept")
        given = [images[name]["image_id"] for name in _TEAM_PICTURES if name in images]
        if given and not await self._images(team_id):
            await self._demo.call("POST", f"/teams/{team_id}/images", {"image_ids": given})
        self._advance()

    async def _make_key(self) -> str:
        """A new key in place of one that an interrupted filling has made: only its owner ever saw it."""
        for key in (await self._demo.call("GET", "/api-keys"))["api_keys"]:
            if key["name"] == KEY and key["status"] == "active":
                await self._demo.call("DELETE", f"/api-keys/{key['key_id']}")
        body = {
            "name": KEY,
            "scopes": ["intake", "jobs:read", "library:read", "usage:read"],
            "spend_cap": 500,
        }
        key = (await self._demo.call("POST", "/api-keys", body))["key"]
        self._advance()
        return str(key)

    async def _share(self, image: dict[str, Any]) -> str:
        output_id = image["current"]["output_id"]
        body = {"expires_in": 30 * 86_400}
        url = (await self._demo.call("POST", f"/outputs/{output_id}/share", body))["url"]
        self._advance()
        return str(httpx.URL(self._local.api_url).join(url))

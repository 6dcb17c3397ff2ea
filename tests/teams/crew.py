"""A team with somebody in every role, somebody who has left, a stranger, and pictures."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from scripts.local.home import Local
from tests.client import Client
from tests.library.people import Connection
from tests.photos import Photo, photo
from tests.support import User, sign_up

OP = "resize-v1:width-64"
MEMBERS = ("owner", "editor", "viewer")
ROLES = (*MEMBERS, "former", "stranger")


class Hand(Client):
    """One of them, as the API and Supabase see them."""

    def __init__(self, api_url: str, local: Local, user: User) -> None:
        super().__init__(api_url, user.token)
        self.user = user
        headers = {"apikey": local.publishable_key} | user.bearer
        self.supabase = httpx.AsyncClient(
            base_url=local.supabase_url, headers=headers, timeout=60, trust_env=False
        )

    async def __aexit__(self, *error: object) -> None:
        await self.supabase.aclose()
        await super().__aexit__(*error)

    @property
    def id(self) -> uuid.UUID:
        return self.user.id

    async def say(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The decoded answer to a call that must answer with `status`; None where it has no body."""
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: Any = None, *, status: int) -> str:
        """The code of a refusal."""
        return str((await self.say(method, path, body, status=status))["code"])


@dataclass
class Crew:
    """The people by role, and the team of the owner that they are in or were in."""

    db: Connection
    people: dict[str, Hand]
    team_id: str = ""
    image_id: str = ""
    output_id: str = ""
    picture: Photo = field(default_factory=photo)

    def __getitem__(self, role: str) -> Hand:
        return self.people[role]

    @property
    def path(self) -> str:
        return f"/teams/{self.team_id}"

    async def join(self, role: str, as_role: str) -> None:
        """Invite and accept."""
        hand = self.people[role]
        body = {"email": hand.user.email, "role": as_role}
        invitation = await self["owner"].say("POST", f"{self.path}/invitations", body, status=201)
        await hand.say("POST", f"/invitations/{invitation['invitation_id']}/accept")

    async def leave(self, role: str) -> None:
        hand = self.people[role]
        await hand.say("DELETE", f"{self.path}/members/{hand.id}", status=204)

    async def plan(self, role: str, plan: str) -> None:
        await self.db.execute(
            "update public.profiles set plan_id = $2 where user_id = $1", self.people[role].id, plan
        )

    async def make(self, role: str, picture: Photo, op: str = OP) -> dict[str, Any]:
        """A finished job of this member for the team; needs a worker."""
        done = await self.people[role].process(picture, op, team_id=self.team_id)
        assert done["status"] == "done", done
        return done

    async def rows(self, table: str, where: str = "team_id = $1") -> list[dict[str, Any]]:
        found = await self.db.fetch(f"select * from public.{table} where {where}", uuid.UUID(self.team_id))
        return [dict(row) for row in found]

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """Entries that name the team, by subject or in their data."""
        found = await self.db.fetch(
            "select * from public.audit_log"
            " where action = $1 and (subject = $2 or data ->> 'team_id' = $2) order by id",
            action,
            self.team_id,
        )
        return [dict(row) for row in found]


@asynccontextmanager
async def crew(local: Local, api_url: str, db: Connection) -> AsyncIterator[Crew]:
    """A team on a paid plan: owner, editor and viewer are in it, the former one has been an editor."""
    async with AsyncExitStack() as stack:
        people = {}
        for role in ROLES:
            hand = Hand(api_url, local, await sign_up(local))
            await stack.enter_async_context(hand)
            people[role] = hand
        made = Crew(db, people)
        await made.plan("owner", "pro")
        made.team_id = (await made["owner"].say("POST", "/teams", {"name": "Shop"}, status=201))["team_id"]
        await made.join("editor", "editor")
        await made.join("viewer", "viewer")
        await made.join("former", "editor")
        yield made


async def furnish(made: Crew) -> None:
    """A picture of the team, made by its editor."""
    done = await made.make("editor", made.picture)
    page = await made["viewer"].say("GET", f"/images?team_id={made.team_id}")
    made.image_id = page["images"][0]["image_id"]
    made.output_id = done["output"]["output_id"]

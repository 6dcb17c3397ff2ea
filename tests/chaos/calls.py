"""A call of every route that changes something, on an account made for it: for tests of what repeating it does."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from scripts.local.home import Local
from service.admin.store import Admin
from service.jobs.store import Jobs
from service.platform.resources import Platform
from tests.client import Client
from tests.jobs import finished, new_queue, queue_job
from tests.library.people import OP, Connection, Person
from tests.photos import Photo, photo
from tests.support import User, set_plan, sign_up

WHY = {"reason": "because"}
PRICE = 5


@dataclass(frozen=True)
class Call:
    """A request, not yet sent."""

    caller: Client
    path: str
    body: dict[str, Any] | None = None
    form: dict[str, str] | None = None

    async def send(self, method: str, key: str | None, api_url: str | None = None) -> httpx.Response:
        """Under this Idempotency-Key; `api_url`: another API than the caller's own."""
        headers = {} if key is None else {"Idempotency-Key": key}
        url = f"{api_url}{self.path}" if api_url else self.path
        return await self.caller.http.request(method, url, json=self.body, data=self.form, headers=headers)


@dataclass
class Stage:
    """The accounts of one call, made as it needs them."""

    local: Local
    api_url: str
    db: Connection
    platform: Platform
    plan: str
    closing: AsyncExitStack
    people: list[UUID] = field(default_factory=list)

    async def account(self) -> tuple[Person, User]:
        user = await sign_up(self.local, plan="free")
        await set_plan(self.local, user.id, self.plan)
        person = Person(self.api_url, user.token, user.id, self.db)
        await self.closing.enter_async_context(person)
        self.people.append(user.id)
        return person, user

    async def person(self) -> Person:
        return (await self.account())[0]

    async def visitor(self) -> Client:
        return await self.closing.enter_async_context(Client(self.api_url))

    async def admin(self) -> Person:
        person, user = await self.account()
        await Admin(self.platform.database).grant_role(str(user.id), "admin", "cli:test", "tests")
        return person

    async def output(self, who: Client, picture: Photo | None = None, op: str = OP) -> str:
        """The id of an ephemeral output of theirs."""
        done = await who.process(picture or photo(48, 32), op)
        return str(done["output"]["output_id"])

    async def kept(self, who: Person, picture: Photo | None = None, op: str = OP) -> dict[str, Any]:
        """An output of theirs in the library."""
        body = {"output_id": await self.output(who, picture, op)}
        return dict(await who.say("POST", "/outputs/promote", body))

    async def job(self, user_id: UUID, error: dict[str, Any] | None = None) -> UUID:
        """A job that was charged, or one that has ended with this error and its upload kept."""
        if error is None:
            job_id = await queue_job(
                self.platform, photo(48, 32), OP, "default", user_id=user_id, price=PRICE
            )
            await self.platform.doorbell.ring("default")
            await finished(self.platform, job_id, user_id)
            return job_id
        queue = new_queue()
        job_id = await queue_job(self.platform, photo(48, 32), OP, queue, user_id=user_id)
        claimed = await Jobs(self.platform.database).claim_next(queue, "test", 60)
        assert claimed is not None
        await Jobs(self.platform.database).fail_job(
            claimed, {"detail": "It broke.", **error}, retry_seconds=None, drop_upload=False
        )
        return job_id


Make = Callable[[Stage], Awaitable[Call]]
CALLS: dict[str, Make] = {}
"""By method and route, as the OpenAPI document writes them."""


def call(route: str) -> Callable[[Make], Make]:
    def added(make: Make) -> Make:
        CALLS[route] = make
        return make

    return added


# Pictures


@call("POST /intake")
async def _intake(stage: Stage) -> Call:
    return Call(await stage.person(), "/intake", photo(48, 32).claim(OP))


@call("POST /intake/batch")
async def _batch(stage: Stage) -> Call:
    claim = photo(48, 32).claim(OP)
    del claim["op_key"]
    return Call(await stage.person(), "/intake/batch", claim | {"op_keys": [OP, "resize-v1:width-32"]})


@call("DELETE /jobs/{job_id}")
async def _cancel(stage: Stage) -> Call:
    person = await stage.person()
    job = await person.intake(photo(48, 32), OP)
    return Call(person, f"/jobs/{job['job_id']}")


@call("POST /jobs/{job_id}/uploaded")
async def _uploaded(stage: Stage) -> Call:
    person, picture = await stage.person(), photo(48, 32)
    job = await person.intake(picture, OP)
    await person.put(job["upload_url"], picture.data)
    return Call(person, f"/jobs/{job['job_id']}/uploaded")


@call("POST /inputs")
async def _input(stage: Stage) -> Call:
    stroke = {"mode": "keep", "width": 0.03, "points": [[0.62, 0.4], [0.7, 0.52]]}
    return Call(await stage.person(), "/inputs", {"kind": "strokes", "strokes": [stroke]})


@call("POST /quote")
async def _quote(stage: Stage) -> Call:
    claim = photo(48, 32).claim(OP)
    wanted = {name: claim[name] for name in ("op_key", "sha256", "size", "width", "height")}
    return Call(await stage.person(), "/quote", wanted)


@call("POST /jobs/claim")
async def _claim(stage: Stage) -> Call:
    done = await (await stage.visitor()).process(photo(48, 32), OP)
    return Call(await stage.person(), "/jobs/claim", {"job_ids": [done["job_id"]]})


@call("PATCH /outputs/{output_id}")
async def _keep(stage: Stage) -> Call:
    person = await stage.person()
    return Call(person, f"/outputs/{await stage.output(person)}", {"keep_for_days": 2})


@call("DELETE /outputs/{output_id}")
async def _delete_output(stage: Stage) -> Call:
    person = await stage.person()
    return Call(person, f"/outputs/{await stage.output(person)}")


@call("POST /outputs/promote")
async def _promote(stage: Stage) -> Call:
    person = await stage.person()
    return Call(person, "/outputs/promote", {"output_id": await stage.output(person)})


@call("POST /outputs/{output_id}/restore")
async def _restore(stage: Stage) -> Call:
    person, picture = await stage.person(), photo(48, 32)
    first = await stage.kept(person, picture)
    await stage.kept(person, picture, "resize-v1:width-32")
    return Call(person, f"/outputs/{first['output_id']}/restore")


@call("POST /images/{image_id}/rerun")
async def _rerun(stage: Stage) -> Call:
    person = await stage.person()
    await person.process(photo(48, 32), OP, wants_persist=True)
    body = {"op_keys": ["resize-v1:width-30", "resize-v1:width-31"]}
    return Call(person, f"/images/{(await person.image())['id']}/rerun", body)


@call("POST /images/bulk")
async def _bulk(stage: Stage) -> Call:
    person = await stage.person()
    body = {"action": "delete", "image_ids": [(await stage.kept(person))["image_id"]]}
    return Call(person, "/images/bulk", body)


def _image(route: str, suffix: str, before: str | None = None) -> None:
    async def make(stage: Stage) -> Call:
        person = await stage.person()
        path = f"/images/{(await stage.kept(person))['image_id']}"
        if before is not None:
            await person.say("POST", path + before, status=204)
        return Call(person, path + suffix)

    call(route)(make)


_image("DELETE /images/{image_id}", "")
_image("POST /images/{image_id}/archive", "/archive")
_image("POST /images/{image_id}/unarchive", "/unarchive", "/archive")


def _collection(route: str, body: dict[str, Any] | None = None, *, image: bool, inside: bool = False) -> None:
    async def make(stage: Stage) -> Call:
        person = await stage.person()
        made = await person.say("POST", "/collections", {"name": "Mugs"}, status=201)
        path = f"/collections/{made['collection_id']}"
        if image:
            path += f"/images/{(await stage.kept(person))['image_id']}"
        if inside:
            await person.say("PUT", path, status=204)
        return Call(person, path, body)

    call(route)(make)


_collection("PATCH /collections/{collection_id}", {"name": "Cups"}, image=False)
_collection("DELETE /collections/{collection_id}", image=False)
_collection("PUT /collections/{collection_id}/images/{image_id}", image=True)
_collection("DELETE /collections/{collection_id}/images/{image_id}", image=True, inside=True)


@call("POST /collections")
async def _new_collection(stage: Stage) -> Call:
    return Call(await stage.person(), "/collections", {"name": "Mugs"})


# The account


@call("PATCH /me")
async def _settings(stage: Stage) -> Call:
    return Call(await stage.person(), "/me", {"versions_to_keep": 3})


@call("DELETE /me/data")
async def _delete_data(stage: Stage) -> Call:
    # Without pictures: after a job a deletion waits for as long as a worker's lease.
    person = await stage.person()
    await person.say("POST", "/collections", {"name": "Mugs"}, status=201)
    return Call(person, "/me/data", {"confirm": "delete my data"})


@call("POST /me/export")
async def _export(stage: Stage) -> Call:
    return Call(await stage.person(), "/me/export")


def _api_key(route: str, suffix: str, body: dict[str, Any] | None = None) -> None:
    async def make(stage: Stage) -> Call:
        person = await stage.person()
        made = await person.say("POST", "/api-keys", {"name": "one", "scopes": ["usage:read"]}, status=201)
        return Call(person, f"/api-keys/{made['key_id']}{suffix}", body)

    call(route)(make)


_api_key("PATCH /api-keys/{key_id}", "", {"name": "two"})
_api_key("DELETE /api-keys/{key_id}", "")
_api_key("POST /api-keys/{key_id}/rotate", "/rotate", {"overlap_hours": 1})


@call("POST /api-keys")
async def _new_key(stage: Stage) -> Call:
    return Call(await stage.person(), "/api-keys", {"name": "one", "scopes": ["usage:read"]})


# Links


@call("POST /outputs/{output_id}/share")
async def _share(stage: Stage) -> Call:
    person = await stage.person()
    return Call(person, f"/outputs/{await stage.output(person)}/share", {"expires_in": 3600})


def _link(route: str, suffix: str) -> None:
    async def make(stage: Stage) -> Call:
        person = await stage.person()
        path = f"/outputs/{await stage.output(person)}/share"
        made = await person.say("POST", path, {"expires_in": 3600}, status=201)
        return Call(person, f"/shares/{made['share_id']}{suffix}")

    call(route)(make)


_link("POST /shares/{share_id}/renew", "/renew")
_link("DELETE /shares/{share_id}", "")


@call("POST /s/{token}")
async def _open(stage: Stage) -> Call:
    person, password = await stage.person(), secrets.token_hex(8)
    path = f"/outputs/{await stage.output(person)}/share"
    wanted = {"expires_in": 3600, "max_views": 1, "password": password}
    made = await person.say("POST", path, wanted, status=201)
    return Call(await stage.visitor(), f"/s/{made['url'].rpartition('/')[2]}", form={"password": password})

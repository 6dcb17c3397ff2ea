"""GET /outputs/{id}: one output with freshly signed URLs, for whoever may see it."""

from __future__ import annotations

import uuid

import httpx

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.library.people import OP, Connection, person
from tests.photos import photo


async def test_an_output_is_signed_anew(local: Local, api: Child, worker: Child, db: Connection) -> None:
    async with person(local, api.url, db, plan="pro") as paid, person(local, api.url, db) as other:
        for persist in (False, True):
            done = await paid.process(photo(), OP, filename="mug.jpg", wants_persist=persist)
            path = f"/outputs/{done['output']['output_id']}"
            output = await paid.say("GET", path)
            told = {name: output[name] for name in done["output"]}
            assert told == done["output"]
            assert (output["job_id"], output["op_key"]) == (done["job_id"], OP)
            assert output["expires_at"] == done["expires_at"]
            for url in (output["url"], output["thumbnail_url"], output["download_url"]):
                assert (await paid.download(url)).status_code == 200
            assert await other.refused("GET", path, None, 404) == "output_not_found"
            async with httpx.AsyncClient(base_url=api.url, trust_env=False) as visitor:
                assert (await visitor.get(path)).status_code == 401
        assert await paid.refused("GET", f"/outputs/{uuid.uuid4()}", None, 404) == "output_not_found"
        await paid.say("DELETE", path, status=204)
        assert await paid.refused("GET", path, None, 404) == "output_not_found"


async def test_an_output_whose_object_is_gone(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db) as someone:
        done = await someone.process(photo(), OP)
        [row] = await someone.outputs()
        await platform.storage.remove(row["bucket"], [row["path"]])
        path = f"/outputs/{done['output']['output_id']}"
        assert await someone.refused("GET", path, None, 410) == "output_expired"
        assert await someone.refused("GET", path, None, 404) == "output_not_found"

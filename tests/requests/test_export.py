"""GET and POST /me/export: what is in the file, who gets it, and for how long."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any
from uuid import UUID

import orjson
import pytest

from scripts.local.home import Local
from scripts.local.stack import Stack
from service.resources import Resources, open_resources
from service.settings import load_settings
from tests.client import Client
from tests.jobs import new_queue
from tests.requests.estate import Connection, ended, furnish, rows_of
from tests.support import User
from workers.cleanup import CleanupReport, purge
from workers.export import export
from workers.lease import RequestLease

SECRETS = ("lease_token", "cache_key", "token_hash", "password_hash", "cursor", "worker")


async def finished_export(client: Client, resources: Resources, user: User) -> dict[str, Any]:
    """The document of a new export once it is ready."""
    started = await client.http.get("/me/export")
    assert started.status_code == 202, started.text
    assert started.json()["url"] is None
    await ended(resources, UUID(started.json()["request_id"]), user.id)
    ready = await client.http.get("/me/export")
    assert ready.status_code == 200, ready.text
    document: dict[str, Any] = ready.json()
    assert document["request_id"] == started.json()["request_id"]
    return document


async def test_the_file_holds_everything(
    user_client: Client, resources: Resources, db: Connection, user: User
) -> None:
    estate = await furnish(resources, db, user, silent_seconds=60)  # nothing moves meanwhile
    document = await finished_export(user_client, resources, user)
    answer = await user_client.download(document["url"])
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert len(answer.content) == document["size"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = orjson.loads(files.pop("manifest.json"))
    assert (manifest["format"], manifest["user_id"]) == (1, str(user.id))
    assert manifest["receipt"] == document["receipt"]

    tables = manifest["tables"]
    rows = await rows_of(db, user.id)
    rows["audit_log"] -= 1  # that it is done was written after the file
    told = {table: len(content) for table, content in tables.items()}
    assert document["receipt"]["rows"] == told
    # A worker adds up bytes whenever it likes.
    assert told == rows | {table: told[table] for table in ("storage_usage", "storage_changes")}
    for table, content in tables.items():
        for row in content:
            assert str(user.id) in {row.get("user_id"), row.get("owner_id"), row.get("actor")}, table
            assert not set(row) & set(SECRETS), table
    assert {row["name"] for row in tables["collections"]} == {"Mugs", "Blue"}
    assert tables["profiles"][0]["plan_id"] == "pro"

    # Every picture by its bytes, and nothing that no row names.
    named = {}
    for row in (*tables["images"], *tables["image_outputs"]):
        if "file" in row:
            named[row["file"]] = row["sha256"]
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == named
    assert estate.picture.data in files.values()
    assert len(named) == document["receipt"]["files"] == 3  # two originals, one live output
    assert document["receipt"]["left_out"] == 0
    assert document["receipt"]["bytes"] == sum(map(len, files.values()))


async def test_it_is_made_once_and_anew_after_a_day(
    user_client: Client, resources: Resources, db: Connection, user: User
) -> None:
    document = await finished_export(user_client, resources, user)
    first = document["request_id"]
    same = await user_client.http.post("/me/export")
    assert (same.status_code, same.json()["request_id"]) == (200, first)
    await db.execute(
        "update public.data_requests set created_at = now() - interval '25 hours' where user_id = $1", user.id
    )
    assert (await user_client.http.get("/me/export")).json()["request_id"] == first
    renewed = await user_client.http.post("/me/export")
    assert renewed.status_code == 202
    assert renewed.json()["request_id"] != first
    await ended(resources, UUID(renewed.json()["request_id"]), user.id)
    assert (await user_client.http.get("/me/export")).json()["request_id"] == renewed.json()["request_id"]


async def test_it_is_its_owners_alone(  # noqa: PLR0917
    user_client: Client,
    stranger_client: Client,
    resources: Resources,
    local: Local,
    db: Connection,
    user: User,
    stranger: User,
) -> None:
    mine = await finished_export(user_client, resources, user)
    theirs = await finished_export(stranger_client, resources, stranger)
    assert theirs["request_id"] != mine["request_id"]
    path = f"exports/{user.id}/{mine['request_id']}.zip"
    for who, status in ((user, 200), (stranger, 400)):
        headers = {"apikey": local.publishable_key, **who.bearer}
        url = f"{local.supabase_url}/storage/v1/object/authenticated/{path}"
        assert (await resources.http.get(url, headers=headers)).status_code == status
    # It is no deletion: its id says nothing there, and the one who has it is not told either.
    assert (await stranger_client.http.get(f"/me/data/{mine['request_id']}")).status_code == 404
    assert (await user_client.http.get(f"/me/data/{mine['request_id']}")).status_code == 404


async def test_it_goes_after_a_week(
    user_client: Client, resources: Resources, db: Connection, user: User
) -> None:
    document = await finished_export(user_client, resources, user)
    life = "select expires_at - finished_at from public.data_requests where id = $1"
    assert (await db.fetchval(life, UUID(document["request_id"]))).total_seconds() == pytest.approx(
        7 * 86_400, abs=5
    )
    await db.execute(
        "update public.data_requests set expires_at = now() - interval '1 second' where user_id = $1", user.id
    )
    await resources.maintenance.expire_requests(1000)
    await purge(resources, CleanupReport())
    assert (await user_client.download(document["url"])).status_code >= 400
    again = await user_client.http.get("/me/export")
    assert again.status_code == 202
    assert again.json()["request_id"] != document["request_id"]


async def test_pictures_beyond_the_cap_are_left_out_and_named(
    stack: Stack, worker: object, resources: Resources, db: Connection, user: User
) -> None:
    await furnish(resources, db, user)
    queue = new_queue()
    request = await resources.data_requests.request_export(user.id, queue, None)
    settings = load_settings(**stack.environment(), export_max_bytes=1024)
    async with open_resources(settings) as capped:
        claimed = await capped.data_requests.claim_request(queue, "test", 30)
        assert claimed is not None
        async with RequestLease(capped.data_requests, capped.progress, claimed, 30) as lease:
            assert await export(capped, lease) == "done"
    row = await resources.data_requests.get_request(request.request_id, user.id)
    assert row is not None
    assert row.receipt is not None
    assert row.receipt["left_out"] >= 2
    assert row.receipt["bytes"] <= 1024
    path = f"{user.id}/{request.request_id}.zip"
    url = await resources.storage.sign_download("exports", path, 60)
    with zipfile.ZipFile(io.BytesIO((await resources.http.get(url)).content)) as archive:
        images = orjson.loads(archive.read("manifest.json"))["tables"]["images"]
    assert {image.get("left_out") for image in images} == {"too large"}


async def test_a_deletion_takes_the_export_along(
    user_client: Client, resources: Resources, db: Connection, user: User
) -> None:
    document = await finished_export(user_client, resources, user)
    request = await user_client.http.request("DELETE", "/me/data", json={"confirm": "delete my data"})
    row = await ended(resources, UUID(request.json()["request_id"]), user.id)
    assert row.receipt is not None
    assert (row.receipt["objects"], row.receipt["rows"]) == ({"exports": 1}, {"data_requests": 1})
    assert (await user_client.download(document["url"])).status_code >= 400

"""Storage as a table: role x object x operation, over the Storage API with objects that real jobs' functions named."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest

from scripts.local.home import Local
from tests.sql.world import World, open_connection, output_of
from tests.support import User, sign_up

ROLES = ("anon", "stranger", "owner", "service")
READING = ("read", "info", "sign", "list")
WRITING = ("insert", "update", "delete", "sign upload", "copy", "move")
TYPE = {"Content-Type": "image/webp"}
ZIP = {"Content-Type": "application/zip"}

#                                           anon   stranger owner  service
READS: dict[str, tuple[bool, bool, bool, bool]] = {
    "upload": (False, False, False, True),
    "output": (False, False, True, True),
    "thumbnail": (False, False, True, True),
    "library": (False, False, True, True),
    "export": (False, False, True, True),
    "anonymous output": (False, False, False, True),
    "buried output": (False, False, False, True),
    "unknown object": (False, False, False, True),
}
"""Who reads which object. Only the service writes, everywhere."""


@dataclass(frozen=True)
class Scene:
    """Objects of an owner and of nobody by name of their kind: (bucket, path, bytes)."""

    clients: dict[str, httpx.AsyncClient]
    objects: dict[str, tuple[str, str, bytes]]


def _client(local: Local, role: str, user: User | None) -> httpx.AsyncClient:
    key = local.secret_key if role == "service" else local.publishable_key
    headers = {"apikey": key} | (user.bearer if user else {})
    return httpx.AsyncClient(base_url=f"{local.supabase_url}/storage/v1", headers=headers, trust_env=False)


async def _put(service: httpx.AsyncClient, bucket: str, path: str) -> tuple[str, str, bytes]:
    content = secrets.token_bytes(64)
    headers = ZIP if bucket == "exports" else TYPE
    answer = await service.post(f"/object/{bucket}/{path}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return bucket, path, content


async def _objects(
    world: World, service: httpx.AsyncClient, owner: uuid.UUID
) -> dict[str, tuple[str, str, bytes]]:
    """An upload, and outputs as the functions of a worker record them."""
    found: dict[str, tuple[str, str, bytes]] = {}
    await world.value("update public.profiles set plan_id = 'pro' where user_id = $1", owner)
    for kind, user in (
        ("output", owner),
        ("library", owner),
        ("buried output", owner),
        ("anonymous output", None),
    ):
        queue = secrets.token_hex(6)
        document = (await world.intake(user, queue=queue))["job"]
        upload = await _put(service, "uploads-ephemeral", document["upload_path"])
        job = await world.claim(queue)  # the trigger has seen the upload
        assert job is not None
        made = output_of(job)
        if kind == "library":
            folder = f"{owner}/{job['id']}/output"
            made |= {"bucket": "user-library", "path": f"{folder}/{made['path']}"}
            made |= {"thumb_path": f"{folder}/{made['thumb_path']}"}
        found |= {kind: await _put(service, made["bucket"], made["path"])}
        thumb = await _put(service, made["bucket"], made["thumb_path"])
        if kind == "output":
            found |= {"upload": upload, "thumbnail": thumb}
        done = await world.complete(job, **made)
        if kind == "buried output":
            await world.call("bury_output", p_output_id=done["output"]["output_id"], p_reason="test")
            # A worker of other tests may clean up meanwhile.
            await world.connection.execute(
                "update public.tombstones set not_before = now() + interval '1 hour' where path = any ($1)",
                [made["path"], made["thumb_path"]],
            )
    found |= {"export": await _put(service, "exports", f"{owner}/{uuid.uuid4()}.zip")}
    return found | {"unknown object": await _put(service, "outputs-ephemeral", f"{uuid.uuid4()}.webp")}


@pytest.fixture(scope="module")
async def scene(local: Local) -> AsyncIterator[Scene]:
    connection = await open_connection(local.database_url)
    users = {role: await sign_up(local) for role in ("owner", "stranger")}
    async with AsyncExitStack() as stack:
        clients = {
            role: await stack.enter_async_context(_client(local, role, users.get(role))) for role in ROLES
        }
        objects = await _objects(World(connection), clients["service"], users["owner"].id)
        yield Scene(clients, objects)
    await connection.close()


@pytest.mark.parametrize("verb", READING)
@pytest.mark.parametrize("role", ROLES)
async def test_reading(scene: Scene, role: str, verb: str) -> None:
    client = scene.clients[role]
    for kind, (bucket, path, content) in scene.objects.items():
        allowed = READS[kind][ROLES.index(role)]
        folder, _, name = path.rpartition("/")
        match verb:
            case "read":
                answer = await client.get(f"/object/authenticated/{bucket}/{path}")
                got = answer.content == content
            case "info":
                answer = await client.get(f"/object/info/{bucket}/{path}")
                got = answer.status_code == 200
            case "sign":
                answer = await client.post(f"/object/sign/{bucket}/{path}", json={"expiresIn": 60})
                got = "signedURL" in answer.json()
            case _:
                search = {"prefix": folder, "search": name, "limit": 10}
                answer = await client.post(f"/object/list/{bucket}", json=search)
                got = name in [item["name"] for item in answer.json()]
        assert got == allowed, (kind, answer.status_code, answer.text)
        assert answer.status_code < 500


@pytest.mark.parametrize("verb", WRITING)
@pytest.mark.parametrize("role", ROLES[:3])
async def test_writing_is_for_the_service(scene: Scene, role: str, verb: str) -> None:
    client, service = scene.clients[role], scene.clients["service"]
    for kind, (bucket, path, content) in scene.objects.items():
        new = f"{path.rpartition('.')[0]}-{secrets.token_hex(4)}.webp"
        match verb:
            case "insert":
                answer = await client.post(f"/object/{bucket}/{new}", content=b"theirs", headers=TYPE)
            case "update":
                answer = await client.put(f"/object/{bucket}/{path}", content=b"theirs", headers=TYPE)
            case "delete":
                answer = await client.delete(f"/object/{bucket}/{path}")
            case "sign upload":
                answer = await client.post(f"/object/upload/sign/{bucket}/{new}")
            case _:
                transfer = {"bucketId": bucket, "sourceKey": path, "destinationKey": new}
                answer = await client.post(f"/object/{verb}", json=transfer)
        assert 400 <= answer.status_code < 500, (kind, answer.text)
        assert (await service.get(f"/object/authenticated/{bucket}/{path}")).content == content, kind
        assert (await service.get(f"/object/authenticated/{bucket}/{new}")).status_code >= 400, kind


@pytest.mark.parametrize("bucket", ["uploads-ephemeral", "outputs-ephemeral", "user-library"])
async def test_the_service_writes(scene: Scene, bucket: str) -> None:
    service = scene.clients["service"]
    _, path, _ = await _put(service, bucket, f"{secrets.token_hex(8)}/file.webp")
    assert (await service.put(f"/object/{bucket}/{path}", content=b"new", headers=TYPE)).status_code == 200
    assert (await service.get(f"/object/authenticated/{bucket}/{path}")).content == b"new"
    assert (await service.delete(f"/object/{bucket}/{path}")).status_code == 200
    assert (await service.get(f"/object/authenticated/{bucket}/{path}")).status_code >= 400


async def test_no_bucket_is_public(scene: Scene) -> None:
    for bucket, path, _ in scene.objects.values():
        assert (await scene.clients["anon"].get(f"/object/public/{bucket}/{path}")).status_code >= 400


async def test_every_bucket_of_a_migration_is_private(world: World) -> None:
    rows = await world.connection.fetch(
        "select id, public, file_size_limit, allowed_mime_types from storage.buckets "
        "where id not like 'contract-%'"  # of tests/contract
    )
    assert {row["id"] for row in rows} == {
        "uploads-ephemeral",
        "outputs-ephemeral",
        "user-library",
        "exports",
    }
    assert not any(row["public"] for row in rows)
    assert all(row["file_size_limit"] for row in rows)
    # The label of an upload is a hint: its bytes decide, and nobody may read it.
    assert {row["id"] for row in rows if row["allowed_mime_types"] is None} == {"uploads-ephemeral"}

"""What the examples of the documentation are about: an account with pictures, and the values of placeholders."""

from __future__ import annotations

import asyncio
import io
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from scripts.docs.scene import mug
from scripts.local.home import Local
from scripts.local.sample import open_account
from tests.client import Client
from tests.photos import Photo
from tests.support import User, sign_up

MUG_SIZE = (3000, 4000)
MUG_BYTES = 2_345_678
"""As docs/api.md announces its mug.jpg."""


@dataclass(frozen=True)
class Scene:
    """An account on the plan Pro, who owns a team, and the files and ids that examples name."""

    local: Local
    api_url: str
    user: User
    mug: Photo
    ids: dict[str, Any]
    values: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the examples for a shell."""
        names = ("job_id", "image_id", "output_id")
        return {
            "API": self.api_url,
            "TOKEN": self.user.token,
            "ACCESS_TOKEN": self.user.token,
            **{name: str(self.ids[name]) for name in names},
        }


def mug_photo() -> Photo:
    """A photograph of a mug with exactly the size and dimensions that docs/api.md announces, new at each call."""
    file = io.BytesIO()
    mug((750, 1000)).photo.resize(MUG_SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=80)
    data, comments = file.getvalue(), b""
    missing = MUG_BYTES - len(data)
    while missing > 0:  # JPEG comments: at most 65,533 bytes of text each, with four bytes around it
        length = missing if missing <= 65_537 else min(missing - 5, 65_537)
        comments += b"\xff\xfe" + (length - 2).to_bytes(2, "big") + secrets.token_bytes(length - 4)
        missing -= length
    return Photo(data[:2] + comments + data[2:], *MUG_SIZE, "image/jpeg")


def small_mug() -> Photo:
    """A mug of 450 x 350 pixels, new at each call."""
    file = io.BytesIO()
    mug((450, 350)).photo.save(file, "JPEG", quality=85, comment=secrets.token_hex(8))
    return Photo(file.getvalue(), 450, 350, "image/jpeg")


async def set_scene(local: Local, api_url: str) -> Scene:
    """Make the account and its pictures through the API."""
    for email in ("ada@example.com", "you@example.com"):
        await open_account(local.supabase_url, local, "a-long-password", email)
    user = await sign_up(local, plan="pro")
    owner = await sign_up(local, plan="pro")
    async with Client(api_url, user.token) as mine, Client(api_url, owner.token) as theirs:
        first = small_mug()
        job = await mine.process(first, "bgremove-v1", filename="white mug.jpg", wants_persist=True)
        again = await mine.process(first, "enhance-v1", filename="white mug.jpg", wants_persist=True)
        given, other = small_mug(), small_mug()
        await mine.process(given, "resize-v1:width-100", filename="given.jpg", wants_persist=True)
        await mine.process(other, "resize-v1:width-100", filename="other.jpg")
        images = {image["filename"]: image for image in (await _get(mine, "/images"))["images"]}
        image_id = images["white mug.jpg"]["image_id"]
        collection = await _post(mine, "/collections", {"name": "Mugs"})
        put = await mine.http.put(f"/collections/{collection['collection_id']}/images/{image_id}")
        assert put.status_code == 204
        team = await _post(mine, "/teams", {"name": "Studio"})
        await mine.process(small_mug(), "resize-v1:width-100", filename="team.jpg", team_id=team["team_id"])
        invited = await _post(theirs, "/teams", {"name": "Another studio"})
        await _post(
            theirs, f"/teams/{invited['team_id']}/invitations", {"email": user.email, "role": "viewer"}
        )
        outputs = (await _get(mine, f"/images/{image_id}"))["outputs"]
        await _post(mine, f"/outputs/{outputs[0]['output_id']}/share", {"expires_in": 86_400})
    ids = {
        "job_id": job["job_id"],
        "again_id": again["job_id"],
        "image_id": image_id,
        "output_id": outputs[0]["output_id"],
        "collection_id": collection["collection_id"],
        "team_id": team["team_id"],
        "given_id": images["given.jpg"]["image_id"],
        "last_id": images["given.jpg"]["image_id"],
        "last_created_at": images["other.jpg"]["created_at"],
        "sha256": first.sha256,
    }
    big = await asyncio.to_thread(mug_photo)
    return Scene(local, api_url, user, big, ids, _values(local, api_url, user, big, ids))


def _values(local: Local, api_url: str, user: User, big: Photo, ids: dict[str, Any]) -> dict[str, str]:
    """What the reader of an example puts in place of its placeholders, and the addresses of this stack."""
    return {
        "…64 hex…": big.sha256,
        '"sha256": "…"': f'"sha256": "{ids["sha256"]}"',
        '"job_id": "…"': f'"job_id": "{ids["job_id"]}"',
        "<this repository>": "https://git.example.com/darkroom.git",
        "<ref>": "abcdefghijklmnopqrst",
        "<sha256>": secrets.token_hex(32),
        "<user id>": str(user.id),
        "sb_publishable_…": local.publishable_key,
        "sb_secret_…": local.secret_key,
        "rediss://…": "rediss://cache.example.net:6379",
        "SUPABASE_URL=…": f"SUPABASE_URL={local.supabase_url}",
        "SUPABASE_PUBLISHABLE_KEY=…": f"SUPABASE_PUBLISHABLE_KEY={local.publishable_key}",
        "SUPABASE_SECRET_KEY=…": f"SUPABASE_SECRET_KEY={local.secret_key}",
        "SUPABASE_JWT_SECRET=…": f"SUPABASE_JWT_SECRET={local.jwt_secret}",
        "REDIS_URL=…": f"REDIS_URL={local.redis_url}",
        "http://127.0.0.1:54321": local.supabase_url,
        "redis://127.0.0.1:6379": local.redis_url,
        "https://images.example.com": api_url,
    }


async def _get(client: Client, path: str) -> Any:
    return _answer(await client.http.get(path))


async def _post(client: Client, path: str, body: object) -> Any:
    return _answer(await client.http.post(path, json=body))


def _answer(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def write_files(scene: Scene, directory: Path, text: str) -> None:
    """The files that an example names: the photograph that docs/api.md announces where `text` tells its digest, else a
    small one."""
    photo = scene.mug if scene.mug.sha256 in text else small_mug()
    (directory / "mug.jpg").write_bytes(photo.data)

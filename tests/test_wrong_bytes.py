"""Wrong bytes never enter the cache, and what was verified is what is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import asyncpg
import pytest

from service.platform.resources import Platform
from tests.client import Client
from tests.photos import Photo, photo
from workers.cleanup import CleanupReport, purge

OP = "resize-v1:width-64"


@dataclass(frozen=True)
class Lie:
    """What is claimed of a picture, what is uploaded in its place, how the job ends, and whether sending it again may
    help."""

    code: str
    claimed: Callable[[Photo], Photo]
    uploaded: Callable[[Photo], bytes]
    retryable: bool = False


LIES = (
    Lie("sha256_mismatch", lambda p: p, lambda p: p.data[:-2] + bytes(2)),
    Lie("size_mismatch", lambda p: p, lambda p: p.data + b"more"),
    Lie("size_mismatch", lambda p: p, lambda p: p.data[:-1], retryable=True),
    Lie("dimensions_mismatch", lambda p: replace(p, width=p.width + 1), lambda p: p.data),
)


@pytest.mark.parametrize("lie", LIES, ids=["content", "longer", "shorter", "dimensions"])
async def test_bytes_that_differ_from_the_claim(
    client: Client, platform: Platform, db: asyncpg.Connection[asyncpg.Record], lie: Lie
) -> None:
    picture = photo()
    claimed = lie.claimed(picture)
    answer = await client.intake(claimed, OP)
    await client.upload(answer, claimed, lie.uploaded(picture))
    failed = await client.wait(answer["job_id"])
    assert (failed["status"], failed["error"]["code"]) == ("error", lie.code)
    assert failed["error"]["retryable"] is lie.retryable
    assert (failed["output"], failed["output_urls"], failed["charged"]) == (None, [], 0)

    await purge(platform, CleanupReport())
    assert await platform.storage.info("uploads-ephemeral", answer["upload_path"]) is None
    assert (
        await db.fetchval("select count(*) from image_outputs where input_sha256 = $1", picture.sha256) == 0
    )

    honest = await client.intake(picture, OP)
    assert honest["cached"] is False
    await client.upload(honest, picture)
    assert (await client.wait(honest["job_id"]))["status"] == "done"

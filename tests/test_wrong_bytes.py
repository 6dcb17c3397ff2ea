"""Wrong bytes never enter the cache, and what was verified is what is served."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
from PIL import Image

from service.resources import Resources
from tests.client import Client
from tests.gated_pixels import gate_of, wait_for
from tests.jobs import finished, new_queue, queue_job
from tests.photos import Photo, photo
from tests.support import User
from workers.cleanup import CleanupReport, purge
from workers.imaging.pool import PixelPool
from workers.run_job import run_job
from workers.workbench import Slots, Workbench

OP = "resize-v1:width-64"


@dataclass(frozen=True)
class Lie:
    """What is claimed of a picture, what is uploaded in its place, and how the job ends."""

    code: str
    claimed: Callable[[Photo], Photo]
    uploaded: Callable[[Photo], bytes]


LIES = (
    Lie("sha256_mismatch", lambda p: p, lambda p: p.data[:-2] + bytes(2)),
    Lie("size_mismatch", lambda p: p, lambda p: p.data + b"more"),
    Lie("size_mismatch", lambda p: p, lambda p: p.data[:-1]),
    Lie("dimensions_mismatch", lambda p: replace(p, width=p.width + 1), lambda p: p.data),
    Lie("type_mismatch", lambda p: replace(p, content_type="image/png"), lambda p: p.data),
)


@pytest.mark.parametrize("lie", LIES, ids=["content", "longer", "shorter", "dimensions", "type"])
async def test_bytes_that_differ_from_the_claim(
    client: Client, resources: Resources, db: asyncpg.Connection[asyncpg.Record], lie: Lie
) -> None:
    picture = photo()
    claimed = lie.claimed(picture)
    answer = await client.intake(claimed, OP)
    await client.upload(answer, claimed, lie.uploaded(picture))
    failed = await client.wait(answer["job_id"])
    assert (failed["status"], failed["error"]["code"]) == ("error", lie.code)
    assert (failed["output"], failed["output_urls"], failed["charged"]) == (None, [], 0)

    await purge(resources, CleanupReport())
    assert await resources.storage.info("uploads-ephemeral", answer["upload_path"]) is None
    assert (
        await db.fetchval("select count(*) from image_outputs where input_sha256 = $1", picture.sha256) == 0
    )

    honest = await client.intake(picture, OP)
    assert honest["cached"] is False
    await client.upload(honest, picture)
    assert (await client.wait(honest["job_id"]))["status"] == "done"


async def test_an_object_overwritten_after_the_job_changes_nothing(
    user_client: Client, user: User, resources: Resources
) -> None:
    """The slow PUT: the upload key now holds other bytes. Hits serve what was verified; a re-run is refused."""
    picture, evil = photo(), photo()
    done = await user_client.process(picture, OP)
    path = f"{done['job_id']}/original"
    await resources.storage.remove("uploads-ephemeral", [path])
    await resources.storage.upload("uploads-ephemeral", path, evil.data, "image/jpeg")

    hit = await user_client.intake(picture, OP)
    assert (hit["cached"], hit["output"]) == (True, done["output"])
    rerun = await user_client.intake(picture, "resize-v1:width-32")
    if rerun["upload_url"] is None:
        failed = await user_client.wait(rerun["job_id"])
        assert failed["error"]["code"] in {"sha256_mismatch", "size_mismatch", "upload_missing"}
    again = await user_client.process(picture, "resize-v1:width-32")
    assert again["status"] == "done"
    _assert_looks_like(picture, (await user_client.download(again["output_urls"][0])).content)


def _assert_looks_like(picture: Photo, served: bytes) -> None:
    output = Image.open(io.BytesIO(served)).convert("RGB")
    expected = picture.opened().convert("RGB").resize(output.size, Image.Resampling.LANCZOS)
    pairs = zip(output.tobytes(), expected.tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / len(output.tobytes()) < 8


async def test_an_object_overwritten_while_the_job_computes_changes_nothing(
    resources: Resources, tmp_path: Path
) -> None:
    """The bytes are read once: the child works on a file that was hashed while it arrived."""
    picture, evil, queue = photo(), photo(), new_queue()
    job_id = await queue_job(resources, picture, OP, queue)
    job = await resources.jobs.claim_next(queue, "test", 30)
    assert job is not None
    gate = gate_of(picture.sha256)
    pixels = PixelPool(workers=1, entry="tests.gated_pixels:process")
    async with pixels:
        bench = Workbench(resources, pixels, Slots(1), "test")
        running = asyncio.create_task(run_job(bench, job))
        await asyncio.to_thread(wait_for, gate / "entered")
        await resources.storage.remove("uploads-ephemeral", [job.upload_path])
        await resources.storage.upload("uploads-ephemeral", job.upload_path, evil.data, "image/jpeg")
        (gate / "go").touch()
        await running
    row = await finished(resources, job_id)
    assert row.status == "done"
    assert row.output is not None
    got = await resources.storage.download(
        row.output.bucket, row.output.path, tmp_path / "output", max_bytes=1_000_000
    )
    assert got.sha256 == row.output.sha256
    _assert_looks_like(picture, (tmp_path / "output").read_bytes())

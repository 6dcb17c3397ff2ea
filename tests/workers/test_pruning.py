"""The cleanup forgets jobs by age, in the caches too; wrong counts of lanes are repaired with an alarm."""

from __future__ import annotations

import uuid

import asyncpg
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from service.platform.resources import Platform
from tests.client import Client
from tests.jobs import new_queue, queue_job
from tests.photos import photo
from workers.cleanup import CleanupReport, prune
from workers.lanes import repair_lanes

OP = "resize-v1:width-64"


async def test_a_pruned_job_is_unknown_and_hits_have_another(
    client: Client, platform: Platform, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    picture = photo()
    done = await client.process(picture, OP)
    first = await client.intake(picture, OP)
    assert (await client.intake(picture, OP))["job_id"] == first["job_id"]  # from Redis
    ids = [uuid.UUID(job) for job in {done["job_id"], first["job_id"]}]
    await db.execute(
        "update jobs set created_at = created_at - interval '91 days', upload_expires_at = null,"
        " finished_at = finished_at - interval '91 days' where id = any ($1)",
        ids,
    )
    report = CleanupReport()
    await prune(platform, report)
    assert report.pruned_jobs >= len(ids)
    for job_id in ids:
        assert (await client.http.get(f"/jobs/{job_id}")).status_code == 404
        assert (await client.http.get(f"/jobs/{job_id}/events")).status_code == 404
    hit = await client.intake(picture, OP)
    assert hit["cached"]
    assert uuid.UUID(hit["job_id"]) not in ids
    assert (await client.job(hit["job_id"]))["output"]["sha256"] == done["output"]["sha256"]


async def test_wrong_counts_are_repaired_with_an_alarm(
    platform: Platform, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    queue = new_queue()
    await queue_job(platform, photo(), OP, queue)
    assert await repair_lanes(platform) == []
    before = REGISTRY.get_sample_value("darkroom_lane_faults_total") or 0
    await db.execute("update lanes set waiting = 7 where queue = $1", queue)
    with capture_logs() as lines:
        faults = await repair_lanes(platform)
    assert len(faults) == 2  # the lane, and the counts of its queue
    assert [(line["event"], line["faults"]) for line in lines] == [("lanes_repaired", 2)]
    assert REGISTRY.get_sample_value("darkroom_lane_faults_total") == before + 2
    assert await db.fetchval("select waiting from lanes where queue = $1", queue) == 1
    assert await repair_lanes(platform) == []

"""The queue when much waits: claims, job documents, intakes and sweeps with many jobs against a hundred.

Two stacks, asked in turn, so that a busy moment hits both. Jobs are made inside Postgres: a fifth of them of one user
who has as many running as the plan allows, the others of visitors, a hundred in each lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg

from scripts.bench.measure import Row, Sample, at_least, at_most, sample_row
from scripts.bench.site import site

TITLE = "Depth"
FEW = 100
QUEUE = "bench"
CHUNK = 100_000
OF_A_LANE = 100
ROUNDS = 5
CONNECTIONS = 8
GOAL = 2.0
SWEEP_GOAL_MS = 5.0
RATE_GOAL = 1200.0
STEADY_GOAL = 0.9

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Line:
    """A database in whose queue `jobs` wait. `last`: the last job of the user at the limit; `caller`: somebody with
    nothing in it."""

    url: str
    jobs: int
    lanes: int
    load_seconds: float
    connection: Connection
    last: uuid.UUID
    capped: uuid.UUID
    caller: uuid.UUID

    async def claim(self) -> float:
        """Seconds of one claim; the job is given back."""
        started = time.perf_counter()
        job = await _claim(self.connection)
        seconds = time.perf_counter() - started
        if job is None:
            raise RuntimeError("nothing was claimed")
        await self.connection.execute("select public.snooze($1, $2, 0)", job["id"], job["lease_token"])
        return seconds

    async def look(self) -> float:
        """Of the document of the job that is last in line."""
        return await self._timed("select public.get_job($1, $2)", self.last, self.capped)

    async def intake(self) -> float:
        """Of an intake that makes a job; the job is canceled."""
        digest = uuid.uuid4().hex * 2
        started = time.perf_counter()
        answer = await self.connection.fetchval(_INTAKE, self.caller, digest, QUEUE)
        seconds = time.perf_counter() - started
        job_id = json.loads(answer)["job"]["job_id"]
        await self.connection.execute("select public.cancel_job($1, $2)", uuid.UUID(job_id), self.caller)
        return seconds

    async def sweep(self) -> float:
        return await self._timed("select public.sweep()")

    async def load(self) -> float:
        """Of what shedding load asks."""
        return await self._timed("select public.queue_load($1)", QUEUE)

    async def _timed(self, sql: str, *arguments: object) -> float:
        started = time.perf_counter()
        await self.connection.fetchval(sql, *arguments)
        return time.perf_counter() - started


MEASURES: dict[str, tuple[Callable[[Line], Awaitable[float]], float | None]] = {
    "claim": (Line.claim, GOAL),
    "document of the last job": (Line.look, GOAL),
    "intake that makes a job": (Line.intake, GOAL),
    "sweep": (Line.sweep, None),
    "load of the queue": (Line.load, GOAL),
}


async def run(*, rows: int = 100_000, calls: int = 300, drained: int = 4_000) -> list[Row]:
    """`calls` of each kind on each side; then `drained` jobs claimed and completed by eight connections."""
    async with _line(FEW) as few, _line(rows) as many:
        report = [
            Row(
                f"{rows:,} jobs",
                f"{many.lanes:,} lanes",
                note=f"{rows // 5:,} of one user at the limit; made in {many.load_seconds:.0f} s",
                figure=float(many.lanes),
            )
        ]
        for name, (measure, goal) in MEASURES.items():
            taken = await _compare(few, many, measure, calls)
            report += _rows(name, rows, taken, goal)
        report += await _drain(many, drained)
    return report


def _rows(name: str, rows: int, taken: tuple[list[Sample], list[Sample]], goal: float | None) -> list[Row]:
    few, many = (Sample(tuple(one for part in side for one in part.seconds)) for side in taken)
    shown = [sample_row(f"{name}, {FEW} jobs", few), sample_row(f"{name}, {rows:,} jobs", many)]
    if goal is None:
        return [
            *shown,
            at_most(f"{name}, median, {rows:,} jobs", many.median * 1000, SWEEP_GOAL_MS, unit="ms"),
        ]
    ratios = Sample(tuple(b.p95 / a.p95 for a, b in zip(*taken, strict=True)))
    return [*shown, at_most(f"{name}, p95, {rows:,} : {FEW} jobs", ratios.median, goal)]


async def _compare(
    few: Line, many: Line, measure: Callable[[Line], Awaitable[float]], calls: int
) -> tuple[list[Sample], list[Sample]]:
    """Samples by round of both sides, asked in turn."""
    taken: tuple[list[Sample], list[Sample]] = ([], [])
    for line in (few, many):
        for _ in range(10):
            await measure(line)
    for _ in range(ROUNDS):
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(max(20, calls // ROUNDS)):
            for side, line in enumerate((few, many)):
                seconds[side].append(await measure(line))
        for side in (0, 1):
            taken[side].append(Sample(tuple(seconds[side])))
    return taken


async def _drain(line: Line, jobs: int) -> list[Row]:
    """Claim and complete so many jobs. The rate at the end is compared with that at the start: of a fifth each."""
    done = _Done(jobs)
    connections = [await _connect(line.url) for _ in range(CONNECTIONS)]
    try:
        await asyncio.gather(*(_work(connection, done) for connection in connections))
    finally:
        for connection in connections:
            await connection.close()
    part = max(1, jobs // 5)
    start = part / (done.times[part] - done.times[0])
    end = part / (done.times[-1] - done.times[-1 - part])
    return [
        at_least(
            "jobs claimed and completed, per second",
            jobs / (done.times[-1] - done.times[0]),
            RATE_GOAL,
            unit="/s",
        ),
        at_least(f"… the last {part:,} : the first", end / start, STEADY_GOAL),
    ]


@dataclass
class _Done:
    """When jobs were completed; `wanted` of them in all."""

    wanted: int
    times: list[float] = field(default_factory=list)


async def _work(connection: Connection, done: _Done) -> None:
    if not done.times:
        done.times.append(time.perf_counter())
    while len(done.times) <= done.wanted:
        job = await _claim(connection)
        if job is None:
            raise RuntimeError("the queue ran dry: drain fewer jobs")
        await connection.execute(
            "select public.complete_job($1, $2, $3, 3600)", job["id"], job["lease_token"], _output(job)
        )
        done.times.append(time.perf_counter())


async def _claim(connection: Connection) -> dict[str, Any] | None:
    row = await connection.fetchval("select public.claim_next($1, 'bench', 60)", QUEUE)
    return None if row is None else dict(json.loads(row))


def _output(job: dict[str, Any]) -> str:
    """What a worker reports of a job that made something small."""
    return json.dumps(
        {
            "bucket": "outputs-ephemeral",
            "path": f"{job['object_key']}.webp",
            "thumb_path": f"{job['object_key']}.thumb.webp",
            "content_type": "image/webp",
            "width": 20,
            "height": 15,
            "size": 500,
            "sha256": uuid.uuid4().hex * 2,
            "input_content_type": "image/jpeg",
            "input_width": 40,
            "input_height": 30,
            "input_size": 1000,
        }
    )


async def _connect(url: str) -> Connection:
    return await asyncpg.connect(url, server_settings={"jit": "off"})


@contextlib.asynccontextmanager
async def _line(jobs: int) -> AsyncIterator[Line]:
    async with site() as stack:
        connection = await _connect(stack.local.database_url)
        try:
            started = time.perf_counter()
            capped, caller = [await _user(connection) for _ in range(2)]
            lanes = await _fill(connection, jobs, capped)
            while (
                await connection.fetchval("select state from public.lanes where user_id = $1", capped)
                == "ready"
            ):
                await _claim(connection)  # until as many run as the plan allows
            last = await connection.fetchval(
                "select id from public.jobs where user_id = $1 and status = 'queued'"
                " order by run_at desc, id desc limit 1",
                capped,
            )
            yield Line(
                stack.local.database_url,
                jobs,
                lanes,
                time.perf_counter() - started,
                connection,
                last,
                capped,
                caller,
            )
        finally:
            await connection.close()


async def _user(connection: Connection) -> uuid.UUID:
    user_id = uuid.uuid4()
    await connection.execute(
        "insert into auth.users (id, email, email_confirmed_at) values ($1, $2, now())",
        *(user_id, f"{user_id.hex}@example.com"),
    )
    await connection.execute("update public.profiles set plan_id = 'enterprise' where user_id = $1", user_id)
    return user_id


async def _fill(connection: Connection, jobs: int, capped: uuid.UUID) -> int:
    """Jobs and their lanes, around the triggers; how many lanes there are. What they count is then counted once."""
    own = jobs // 5
    visitors = max(1, (jobs - own) // OF_A_LANE)
    await connection.execute("set synchronous_commit = off; set session_replication_role = replica")
    await connection.execute(_LANES, QUEUE, visitors, capped)
    for first in range(0, jobs, CHUNK):
        await connection.execute(_JOBS, QUEUE, first, min(first + CHUNK, jobs) - 1, own, visitors, capped)
    await connection.execute("reset session_replication_role; reset synchronous_commit")
    await connection.execute("select public.repair_lanes()")
    await connection.execute("vacuum analyze")
    await connection.execute("checkpoint")
    return visitors + 1


_LANES = """
insert into public.lanes (queue, who, user_id, network, plan_id)
select $1, 'address:' || md5(n::text), null, left(md5(n::text), 16), 'anonymous' from generate_series(1, $2::integer) n
union all
select $1, 'user:' || $3::uuid, $3::uuid, null, 'enterprise'
"""
_JOBS = """
insert into public.jobs (
    status, sha256, filename, size, width, height, op_key, cache_key, queue, upload_path, expires_at, run_at, address,
    user_id, lane_id)
select 'queued', key, 'bench.jpg', 1000, 40, 30, 'resize-v1:width-20',
       public.cache_key(key, 'resize-v1:width-20', 'full'), $1, gen_random_uuid() || '/original',
       now() + interval '1 day', now() - interval '1 day' + n * interval '1 ms',
       case when n >= $4 then md5(lane::text) end, case when n < $4 then $6::uuid end,
       (select l.id from public.lanes l
        where l.queue = $1 and l.who = case when n < $4 then 'user:' || $6::uuid else 'address:' || md5(lane::text) end)
from (select n, lpad(to_hex(n), 64, '0') as key, n % $5 + 1 as lane
      from generate_series($2::bigint, $3::bigint) n) made
"""
_INTAKE = """
select public.intake(
  p_user_id => $1, p_sha256 => $2, p_filename => 'bench.jpg', p_content_type => 'image/jpeg', p_size => 1000,
  p_width => 40, p_height => 30, p_op_key => 'resize-v1:width-20', p_variant => 'full', p_cacheable => true,
  p_price => 0, p_queue => $3, p_wants_persist => false, p_use_cache => true, p_await_seconds => 60,
  p_upload_seconds => 3600, p_output_seconds => 3600, p_request_id => null)
"""

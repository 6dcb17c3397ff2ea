"""Expiry and purge of many outputs while the cache is asked: rows per second, and what lookups feel of it.

The worker's own cleanup runs, batch by batch, over PostgREST; only Storage is left out, which removes objects at its
own pace and elsewhere. Lookups come from a process of their own, so that they measure Postgres and not this program's
event loop. Each round fills the table, then looks up in peace, beside a query that only computes, and during the
cleanup: a busy moment of the machine hits all three. What the computing neighbour costs is the processor's share of
what the cleanup costs; the rest is locks and pages.
"""

from __future__ import annotations

import asyncio
import dataclasses
import multiprocessing
import random
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection

import asyncpg

from scripts.bench.cache import FEW, OP_KEY, load, lookup_sql, sha256_of
from scripts.bench.measure import Row, Sample, at_most, sample_row
from scripts.bench.site import clients, site
from service.platform.resources import Platform
from service.platform.storage import Storage
from workers.cleanup import BATCH, cleanup

TITLE = "Cleanup"
GOAL = 1.5
SECONDS = 2.0
"""Of peace, and of the neighbour, in each round."""
LOOKUP_PAUSE_SECONDS = 0.001
CLEANING = "expiring and purging"

Timed = tuple[float, float]
"""Start and duration of a lookup, in seconds of the machine's monotonic clock."""


class _Elsewhere(Storage):
    """Storage that has removed everything at once."""

    def __init__(self) -> None: ...

    async def remove(self, bucket: str, paths: Iterable[str]) -> list[str]:
        return list(paths)


async def run(*, rows: int = 20_000, rounds: int = 10, batch: int = BATCH) -> list[Row]:
    """`rows` outputs in all, in as many cleanups as rounds, beside ten thousand that live."""
    share = max(1, rows // rounds)
    async with site() as stack, clients(stack) as platform:
        connection = await asyncpg.connect(stack.local.database_url)
        try:
            await load(connection, FEW)
            with _Visitors(stack.local.database_url) as visitors:
                calm, beside, busy, spent = [], [], [], 0.0
                for number in range(rounds):
                    await connection.execute(_EXPIRED, share, OP_KEY, number)
                    calm.append(visitors.between(*await _window(asyncio.sleep(SECONDS))))
                    beside.append(visitors.between(*await _window(_compute(connection))))
                    work = await _window(_clean(platform, share, batch))
                    busy.append(visitors.between(*work))
                    spent += work[1] - work[0]
        finally:
            await connection.close()
    done = share * rounds
    return [
        Row(
            f"{CLEANING} {done:,} outputs",
            f"{done / spent:,.0f} rows/s",
            note=f"batches of {batch}; two objects a row; Storage left out",
            figure=done / spent,
        ),
        sample_row("lookup in peace", _joined(calm)),
        sample_row("lookup beside a neighbour", _joined(beside), note="a query that only computes"),
        sample_row("lookup meanwhile", _joined(busy), note=f"{_joined(busy).count} lookups"),
        Row("lookup p95, neighbour : in peace", f"{_ratio(beside, calm):.2f} ×", figure=_ratio(beside, calm)),
        at_most("lookup p95, meanwhile : in peace", _ratio(busy, calm), GOAL),
    ]


async def _compute(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Keep one backend busy without touching a table."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        await connection.fetchval("select count(*) from generate_series(1, 20000) n where n % 7 = 1")


async def _clean(platform: Platform, rows: int, batch: int) -> None:
    report = await cleanup(dataclasses.replace(platform, storage=_Elsewhere()), batch=batch)
    if (report.expired_outputs, report.removed) != (rows, 2 * rows):
        raise RuntimeError(f"not all was cleaned: {report}")


async def _window(work: object) -> tuple[float, float]:
    """When the work began and ended."""
    started = time.monotonic()
    await work  # type: ignore[misc]
    return started, time.monotonic()


def _ratio(above: list[Sample], below: list[Sample]) -> float:
    """Of 95th percentiles: the median over the rounds."""
    return Sample(tuple(a.p95 / b.p95 for a, b in zip(above, below, strict=True))).median


def _joined(samples: list[Sample]) -> Sample:
    return Sample(tuple(one for sample in samples for one in sample.seconds))


class _Visitors:
    """A process that looks outputs up, one after the other, for as long as the block lasts."""

    def __init__(self, database_url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_visit, args=(database_url, theirs), daemon=True)
        self._taken: list[Timed] = []

    def __enter__(self) -> _Visitors:
        self._process.start()
        self._ours.recv()  # it has connected
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.join()

    def between(self, start: float, end: float) -> Sample:
        """Lookups that began in this time."""
        self._ours.send("tell")
        self._taken += self._ours.recv()
        found = tuple(seconds for at, seconds in self._taken if start <= at < end)
        if not found:
            raise RuntimeError("nothing was looked up in that time")
        return Sample(found)


def _visit(database_url: str, pipe: Connection) -> None:
    asyncio.run(_look_up(database_url, pipe))


async def _look_up(database_url: str, pipe: Connection) -> None:
    chance = random.Random(1)  # noqa: S311 - which rows are asked for is no secret
    connection = await asyncpg.connect(database_url)
    statement = await connection.prepare(lookup_sql())
    taken: list[Timed] = []
    pipe.send("ready")
    while True:
        started = time.monotonic()
        if await statement.fetchval(sha256_of(chance.randrange(FEW))) is None:
            raise RuntimeError("a live row was not found")
        taken.append((started, time.monotonic() - started))
        if pipe.poll():
            pipe.recv()
            pipe.send(taken)
            taken = []
        await asyncio.sleep(LOOKUP_PAUSE_SECONDS)


_EXPIRED = """
insert into public.image_outputs (
    cache_key, input_sha256, input_content_type, input_width, input_height, input_size, op_key, variant,
    bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at)
select public.cache_key(key, $2, 'full'), key, 'image/jpeg', 1024, 1024, 100000, $2, 'full',
       'outputs-ephemeral', id || '.webp', id || '.thumb.webp', 'image/webp', 512, 512, 20000, key,
       now() - interval '1 hour' + n * interval '1 millisecond'
from (select 'e' || lpad(to_hex($3::bigint * $1 + n), 63, '0') as key, gen_random_uuid() as id, n
      from generate_series(1, $1::bigint) n) made
"""

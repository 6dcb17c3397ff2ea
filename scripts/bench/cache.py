"""The cache's lookup: with many rows against ten thousand. Two stacks, asked in turn, so that a busy moment hits both.

Rows are made inside Postgres: anonymous outputs with real keys (sha256 digests, so in no order), all alive. They are
loaded without the table's secondary indexes, which are then built again as the migrations define them.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from scripts.bench.measure import Row, Sample, at_most, sample_row
from scripts.bench.site import clients, site
from service.intake.store import IntakeParameters, Intakes

TITLE = "Cache lookup"
FEW = 10_000
GOAL = 1.6
ROUNDS = 10
BYTES_PER_ROW = 3_000
"""Disk that a load needs at its peak: row, indexes, write-ahead log and the sorting of an index."""
OP_KEY = "resize-v1:width-512"
CHUNK = 250_000
INPUT_BYTES, INPUT_SIDE = 100_000, 1024
"""Of every input, as the claims about it say."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A database with `rows` outputs in its cache."""

    rows: int
    index_bytes: int
    load_seconds: float
    connection: asyncpg.Connection[asyncpg.Record]
    statement: asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]
    intakes: Intakes

    async def by_sql(self, number: int) -> None:
        """The product's own lookup function, by a prepared statement."""
        if await self.statement.fetchval(sha256_of(number)) is None:
            raise RuntimeError(f"row {number} was not found")

    async def by_rpc(self, number: int) -> None:
        """A whole intake that ends in a hit, through PostgREST, as the service asks it."""
        result = await self.intakes.intake(
            IntakeParameters(
                user_id=None,
                sha256=sha256_of(number),
                filename="bench.jpg",
                content_type="image/jpeg",
                size=INPUT_BYTES,
                width=INPUT_SIDE,
                height=INPUT_SIDE,
                op_key=OP_KEY,
                cacheable=True,
                price=0,
                queue="bench",
                wants_persist=False,
                await_seconds=60,
                upload_seconds=3600,
                output_seconds=3600,
                request_id=None,
            )
        )
        if result.outcome != "hit":
            raise RuntimeError(f"row {number} was no hit")


def sha256_of(number: int) -> str:
    """What stands for the digest of input `number`."""
    return f"{number:064x}"


def lookup_sql() -> str:
    """The product's own lookup; $1 is the input's digest."""
    key = f"public.cache_key($1, '{OP_KEY}', 'full')"
    claim = f"{INPUT_BYTES}, {INPUT_SIDE}, {INPUT_SIDE}"
    return f"select (private.find_output({key}, null, null, {claim}, interval '1 hour')).id"


async def run(*, rows: int = 200_000, lookups: int = 4_000, calls: int = 400) -> list[Row]:
    """`lookups` by SQL and `calls` by RPC, on each side."""
    _check_disk(rows)
    async with _shelf(FEW) as few, _shelf(rows) as many:
        by_sql = await _compare(few, many, Shelf.by_sql, lookups)
        by_rpc = await _compare(few, many, Shelf.by_rpc, calls)
    return [
        Row(
            f"{rows:,} rows",
            f"{many.index_bytes / 1e6:.0f} MB",
            note=f"the index of the cache; loaded in {many.load_seconds:.0f} s",
            figure=many.index_bytes / 1e6,
        ),
        *_rows("prepared SQL", rows, by_sql),
        *_rows("by RPC", rows, by_rpc),
    ]


def _rows(way: str, rows: int, taken: tuple[list[Sample], list[Sample]]) -> list[Row]:
    """The figures of each side, and the ratio of their 95th percentiles: the median over the rounds."""
    few, many = (Sample(tuple(one for part in side for one in part.seconds)) for side in taken)
    ratios = Sample(tuple(b.p95 / a.p95 for a, b in zip(*taken, strict=True)))
    return [
        sample_row(f"{way}, {FEW:,} rows", few),
        sample_row(f"{way}, {rows:,} rows", many),
        at_most(f"{way}, p95, {rows:,} : {FEW:,} rows", ratios.median, GOAL),
    ]


async def _compare(
    few: Shelf, many: Shelf, ask: Callable[[Shelf, int], Awaitable[None]], count: int
) -> tuple[list[Sample], list[Sample]]:
    """Samples by round of both sides, asked in turn for rows at random."""
    chance = random.Random(1)  # noqa: S311 - which rows are asked for is no secret
    taken: tuple[list[Sample], list[Sample]] = ([], [])
    for _ in range(ROUNDS):
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(max(20, count // ROUNDS)):
            for side, shelf in enumerate((few, many)):
                number = chance.randrange(shelf.rows)
                started = time.perf_counter()
                await ask(shelf, number)
                seconds[side].append(time.perf_counter() - started)
        for side in (0, 1):
            taken[side].append(Sample(tuple(seconds[side])))
    return taken


def _check_disk(rows: int) -> None:
    free = shutil.disk_usage(Path("/tmp")).free  # noqa: S108 - where tempfile puts the stacks, unless told otherwise
    if free < rows * BYTES_PER_ROW:
        raise RuntimeError(
            f"{rows:,} rows need {rows * BYTES_PER_ROW / 1e9:.0f} GB, {free / 1e9:.0f} are free"
        )


@contextlib.asynccontextmanager
async def _shelf(rows: int) -> AsyncIterator[Shelf]:
    async with site({"shared_buffers": f"{_quarter_of_memory()}MB"}) as stack, clients(stack) as platform:
        connection = await asyncpg.connect(stack.local.database_url)
        try:
            started = time.perf_counter()
            await load(connection, rows)
            index_bytes = await connection.fetchval("select pg_relation_size('public.image_outputs_cache')")
            yield Shelf(
                rows,
                index_bytes,
                time.perf_counter() - started,
                connection,
                await connection.prepare(lookup_sql()),
                Intakes(platform.database),
            )
        finally:
            await connection.close()


async def load(connection: asyncpg.Connection[asyncpg.Record], rows: int) -> None:
    """Fill the cache with the outputs of inputs 0 to `rows` - 1."""
    indexes = await connection.fetch(
        """select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition
           from pg_index i
           where i.indrelid = 'public.image_outputs'::regclass
             and not exists (select 1 from pg_constraint c where c.conindid = i.indexrelid)"""
    )
    await connection.execute(
        """set synchronous_commit = off; set maintenance_work_mem = '512MB';
           alter table public.image_outputs set (autovacuum_enabled = false)"""
    )
    for index in indexes:
        await connection.execute(f"drop index public.{index['name'].removeprefix('public.')}")
    for first in range(0, rows, CHUNK):
        last = min(first + CHUNK, rows) - 1
        await connection.execute(_INSERT, first, last, OP_KEY, INPUT_BYTES, INPUT_SIDE)
    for index in indexes:
        await connection.execute(index["definition"])
    await connection.execute("vacuum analyze public.image_outputs")
    await connection.execute("checkpoint")
    # A server that has run for a while has its hot table in memory: walk the index once and fetch every row.
    await connection.execute(
        "set enable_seqscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off"
    )
    await connection.fetchval(
        "select sum(size) from (select size from public.image_outputs "
        "where deleted_at is null and cache_key is not null order by cache_key, user_id) walked"
    )
    await connection.execute("reset all")


def _quarter_of_memory() -> int:
    """What Postgres' manual advises for shared_buffers, in MB; hosted Supabase is set up alike."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 // 2**20


_INSERT = """
insert into public.image_outputs (
    cache_key, input_sha256, input_content_type, input_width, input_height, input_size, op_key, variant,
    bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at)
select public.cache_key(key, $3, 'full'), key, 'image/jpeg', $5, $5, $4, $3, 'full',
       'outputs-ephemeral', id || '.webp', id || '.thumb.webp', 'image/webp', 512, 512, 20000, key,
       now() + interval '1 day'
from (select lpad(to_hex(n), 64, '0') as key, gen_random_uuid() as id
      from generate_series($1::bigint, $2::bigint) n) made
"""

"""`darkroom bench`: every promise about speed, measured here and now. See docs/benchmarks.md.

Each command exits 1 when a goal is missed; `--json FILE` also writes the figures.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import structlog
import typer
import uvloop
from rich.console import Console

from scripts.bench import cache, cleanup, depth, intake, job, moderation, pixels, queue, recovery, upscale
from scripts.bench.cutout import compare as cutout
from scripts.bench.cutout.sheet import Sheet
from scripts.bench.measure import Row, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure what Darkroom promises.")
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]
Scale = Annotated[
    float,
    typer.Option(
        min=0.05,
        max=1,
        help="Sides of the pictures, as a part of the full ones, for which the goals are set.",
    ),
]


@app.callback()
def quiet() -> None:
    """Measure what Darkroom promises, on an embedded stack of its own. Other work on the machine blurs it."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@app.command("intake")
def intake_command(
    requests: Annotated[int, typer.Option(min=16, help="Requests of each kind in a round.")] = 3000,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    json: Json = None,
) -> None:
    """Intake without I/O, a whole cache hit, and the hit by RPC."""
    _finish({intake.TITLE: _measured(lambda: intake.run(requests=requests, rounds=rounds))}, json)


@app.command("queue")
def queue_command(
    samples: Annotated[int, typer.Option(min=1, help="Rings.")] = 300,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of 50 ms.")] = 100,
    json: Json = None,
) -> None:
    """From a ring to the start of its job, and the use of a slot; beside stock arq."""
    _finish({queue.TITLE: _measured(lambda: queue.run(samples=samples, jobs=jobs))}, json)


@app.command("recovery")
def recovery_command(
    repetitions: Annotated[int, typer.Option(min=1, help="Workers to kill.")] = 5, json: Json = None
) -> None:
    """kill -9 of a worker in the middle of a job, until another one has done it."""
    _finish({recovery.TITLE: _measured(lambda: recovery.run(repetitions=repetitions))}, json)


@app.command("job")
def job_command(
    jobs: Annotated[int, typer.Option(min=1, help="Jobs one by one, for the steps.")] = 60,
    burst: Annotated[int, typer.Option(min=1, help="Jobs at once, for the rate.")] = 60,
    json: Json = None,
) -> None:
    """What a job costs beyond its op and its storage calls; jobs per second."""
    _finish({job.TITLE: _measured(lambda: job.run(jobs=jobs, burst=burst))}, json)


@app.command("cache")
def cache_command(
    rows: Annotated[int, typer.Option(min=1000, help="10000000 for the full size: 30 GB of disk.")] = 200_000,
    lookups: Annotated[int, typer.Option(min=20, help="Lookups by SQL on each side.")] = 4000,
    calls: Annotated[int, typer.Option(min=20, help="Intakes by RPC on each side.")] = 400,
    json: Json = None,
) -> None:
    """The lookup in a cache of many rows against one of ten thousand."""
    _finish({cache.TITLE: _measured(lambda: cache.run(rows=rows, lookups=lookups, calls=calls))}, json)


@app.command("depth")
def depth_command(
    rows: Annotated[int, typer.Option(min=1000, help="Jobs that wait; 1000000 for the full size.")] = 100_000,
    calls: Annotated[int, typer.Option(min=20, help="Calls of each kind on each side.")] = 300,
    drained: Annotated[int, typer.Option(min=100, help="Jobs to claim and complete.")] = 4_000,
    json: Json = None,
) -> None:
    """The queue when much waits against one in which little does."""
    _finish({depth.TITLE: _measured(lambda: depth.run(rows=rows, calls=calls, drained=drained))}, json)


@app.command("cleanup")
def cleanup_command(
    rows: Annotated[
        int, typer.Option(min=100, help="Outputs to expire and purge; 100000 for the full size.")
    ] = 20_000,
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    json: Json = None,
) -> None:
    """Expiry and purge of many outputs, and what cache lookups feel of it."""
    _finish({cleanup.TITLE: _measured(lambda: cleanup.run(rows=rows, rounds=rounds))}, json)


@app.command("pixels")
def pixels_command(
    rounds: Annotated[int, typer.Option(min=1)] = 9, scale: Scale = 1, json: Json = None
) -> None:
    """Pixels against plain Pillow: time, memory, size."""
    _finish({pixels.TITLE: pixels.run(rounds, scale)}, json)


@app.command("cutout")
def cutout_command(
    every: Annotated[int, typer.Option(min=1, help="Only each n-th picture of the set.")] = 1,
    scale: Scale = 1,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet to this picture, two rows of a class.")
    ] = None,
    json: Json = None,
) -> None:
    """Cut-outs against known mattes: v1, v2 and the stages of v2; quality, time, memory."""
    drawn = Sheet()
    rows, outcomes = cutout.run(every, drawn.add, scale)
    if sheet is not None:
        drawn.save(sheet)
    _finish({cutout.TITLE: rows}, json, {"cases": cutout.figures(outcomes)})


@app.command("moderation")
def moderation_command(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of further harmless pictures.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Only each n-th of its own pictures.")] = 1,
    json: Json = None,
) -> None:
    """What a look costs, and how many harmless pictures the model takes for others."""
    _finish({moderation.TITLE: moderation.run(folders or [], every)}, json)


@app.command("upscale")
def upscale_command(
    every: Annotated[int, typer.Option(min=1, help="Only each n-th picture.")] = 1,
    scale: Scale = 1,
    json: Json = None,
) -> None:
    """Enlarging against Lanczos and upscale-v1: photographs, text, flat graphics; time and memory."""
    _finish({upscale.TITLE: upscale.run(every, scale)}, json)


@app.command("all")
def all_command(
    quick: Annotated[bool, typer.Option(help="Small sizes: a minute or two, coarser figures.")] = False,
    json: Json = None,
) -> None:
    """Every benchmark, one after the other."""
    results = {
        intake.TITLE: _measured(
            lambda: intake.run(requests=500, rounds=5) if quick else intake.run(requests=3000, rounds=9)
        ),
        queue.TITLE: _measured(lambda: queue.run(samples=100, jobs=40) if quick else queue.run()),
        recovery.TITLE: _measured(lambda: recovery.run(repetitions=2) if quick else recovery.run()),
        job.TITLE: _measured(lambda: job.run(jobs=20, burst=20) if quick else job.run()),
        cache.TITLE: _measured(
            lambda: cache.run(rows=50_000, lookups=1000, calls=100) if quick else cache.run()
        ),
        depth.TITLE: _measured(
            lambda: depth.run(rows=20_000, calls=100, drained=1_000) if quick else depth.run(rows=1_000_000)
        ),
        cleanup.TITLE: _measured(
            lambda: cleanup.run(rows=5_000, rounds=3) if quick else cleanup.run(rows=100_000)
        ),
        pixels.TITLE: pixels.run(3 if quick else 9),
        cutout.TITLE: cutout.run(20 if quick else 1)[0],
        moderation.TITLE: moderation.run(),
        upscale.TITLE: upscale.run(6 if quick else 1),
    }
    _finish(results, json)


def _measured(bench: Callable[[], Coroutine[Any, Any, list[Row]]]) -> list[Row]:
    """Run one benchmark on uvloop, as uvicorn runs the API."""
    return uvloop.run(bench())


def _finish(results: dict[str, list[Row]], path: Path | None, more: dict[str, Any] | None = None) -> None:
    """Print the tables, write the figures and what more there is, and exit 1 when a goal was missed."""
    console = Console()
    for title, rows in results.items():
        console.print(table(title, rows))
    if path is not None:
        path.write_bytes(orjson.dumps(_document(results) | (more or {}), option=orjson.OPT_INDENT_2) + b"\n")
    if any(row.holds is False for rows in results.values() for row in rows):
        raise typer.Exit(1)


def _document(results: dict[str, list[Row]]) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC),
        "machine": {
            "processors": os.cpu_count(),
            "load": os.getloadavg(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        "benchmarks": {
            title: [{name: getattr(row, name) for name in Row.__slots__} for row in rows]
            for title, rows in results.items()
        },
    }


if __name__ == "__main__":
    app()

"""What `scripts/run` does: the whole stack, a photograph through it twice, then serving until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from scripts.local.demo import Demo, DemoError, Pass, Photo, progress_bars, stamped_sample
from scripts.local.process import StackError
from scripts.local.stack import Stack


@dataclass(frozen=True)
class Options:
    """`photo` None is the sample; `out` None is demo/ in the stack's home."""

    once: bool
    photo: Path | None
    op_key: str
    out: Path | None


async def run(options: Options) -> int:
    """Exit status: 0, or 1 when a step of the demonstration failed under --once."""
    console = Console()
    photo = _photo(options.photo)
    console.print("[bold]Starting[/bold] Postgres, Redis, Supabase gateway, API, worker …")
    stack = Stack(
        app=True, sample=not options.once, say=lambda line: console.print(line, highlight=False, markup=False)
    )
    async with stack:
        failed = False
        try:
            await stack.worker_ready(os.environ.get("DARKROOM_QUEUE") or "default")
            await _demonstrate(console, stack, photo, options)
        except TimeoutError:
            failed = True
            console.print(
                f"[red]error:[/red] the worker does not start; logs: {stack.home.logs}", soft_wrap=True
            )
        except (DemoError, httpx.HTTPError) as error:
            failed = True
            console.print(f"[red]error:[/red] {str(error) or repr(error)}", highlight=False, soft_wrap=True)
            console.print(f"logs: {stack.home.logs}", highlight=False, soft_wrap=True)
        if not options.once:
            _invite(console, stack)
            await _fill_sample_account(console, stack)
            await asyncio.Event().wait()
    return int(failed)


def _photo(path: Path | None) -> Photo:
    """The user's picture, or the sample with the time in it."""
    if path is None:
        return Photo.of("sample.jpg", stamped_sample())
    try:
        return Photo.of(path.name, path.read_bytes())
    except OSError as error:
        raise DemoError(f"cannot read {path}: {error.strerror}") from error


async def _demonstrate(console: Console, stack: Stack, photo: Photo, options: Options) -> None:
    out = (options.out or stack.home.root / "demo").resolve()
    if options.out is None:
        out.mkdir(mode=0o700, exist_ok=True)  # signed URLs open pictures
    timeout = httpx.Timeout(60, read=45)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
        passes: list[Pass] = []
        for title in ("First time", "The same picture again"):
            console.print(f"\n[bold]{title}[/bold]: {photo.name}, {options.op_key}", highlight=False)
            with progress_bars() as progress:
                demo = Demo(client, stack.local.api_url, progress)
                passes.append(await demo.put_through(photo, options.op_key))
        first, second = passes
        if not second.cached:
            raise DemoError("the second time was no cache hit")
        files = await demo.download(second, out)
    result = out / "result.json"
    result.write_text(json.dumps(_summary(first, second), indent=2) + "\n", "utf-8")
    _report(console, first, second, [*files, result])


def _summary(first: Pass, second: Pass) -> dict[str, object]:
    """result.json: the job's document and the milliseconds of both passes."""
    return {
        "job": first.job,
        "cached": {"first": first.cached, "second": second.cached},
        "timings": {"first": first.timings, "second": second.timings},
    }


def _report(console: Console, first: Pass, second: Pass, files: list[Path]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("ms", "hash", "intake", "upload", "process", "total"):
        table.add_column(column, justify="left" if column == "ms" else "right")
    for label, made in (("first", first), ("again", second)):
        cells = [made.timings.get(step) for step in ("hash", "intake", "upload", "process", "total")]
        table.add_row(
            f"{label} ({'cache hit' if made.cached else 'computed'})",
            *("-" if cell is None else f"{cell:.1f}" for cell in cells),
        )
    console.print()
    console.print(table)
    times = first.timings["total"] / second.timings["total"]
    console.print(f"The second answer came {times:.0f} times as fast.\n" if times >= 2 else "")
    for path in files:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print(f"  {second.output_urls[0]}", highlight=False, soft_wrap=True)


def _invite(console: Console, stack: Stack) -> None:
    local = stack.local
    console.print(f"\n[bold]Playground[/bold]  {local.api_url}/")
    console.print(f"[bold]API[/bold]         {local.api_url}/docs")
    console.print(f"[bold]Supabase[/bold]    {local.supabase_url}")
    console.print(f"[bold]Keys[/bold]        {stack.home.local_json}", soft_wrap=True)
    command = _short(stack.home.command)
    console.print("[bold]Sample[/bold]      “Open the sample account” in the playground: Pro, with a library")
    console.print(f"[bold]Darkroom[/bold]    {command} admin plan you@example.com pro", soft_wrap=True)
    console.print("            this gives you@example.com, once it has signed up, the plan Pro")
    console.print("Ctrl-C stops everything.")


def _short(path: Path) -> str:
    """As it can be typed here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


async def _fill_sample_account(console: Console, stack: Stack) -> None:
    """Behind the serving: nothing waits for it. A failure is told, and everything else goes on."""
    with Progress(
        TextColumn("Filling the sample account"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)
        try:
            sample = await stack.fill_sample_account(
                lambda done, steps: bar.update(task, completed=done, total=steps)
            )
        except (DemoError, StackError, httpx.HTTPError) as error:
            console.print(f"[red]error:[/red] the sample account: {error}", highlight=False, soft_wrap=True)
            return
    if sample is not None:
        console.print(
            f"The sample account is filled; one of its pictures is shared: {sample.share_url}", soft_wrap=True
        )
    console.print(f"Its password and API key: {_short(stack.home.sample_json)}", soft_wrap=True)

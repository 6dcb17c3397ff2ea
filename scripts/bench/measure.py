"""Fair ratios: cases take turns in one run, so that a busy machine slows them alike; medians, not bests."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from rich.table import Table


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Sides of a picture, in pixels, as a part of these."""
    return round(size[0] * scale), round(size[1] * scale)


def megapixels(size: tuple[int, int]) -> str:
    """For the label of a row."""
    return f"{size[0] * size[1] / 1e6:.3g} MP"


@dataclass(frozen=True, slots=True)
class Sample:
    """Durations of one case, in seconds, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seconds)

    @property
    def p95(self) -> float:
        """The nearest-rank 95th percentile."""
        return sorted(self.seconds)[max(0, -(-95 * self.count // 100) - 1)]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report. goal: the bound as words, "" for none; holds: None where nothing is promised;
    figure: the value as a number, where it is one."""

    name: str
    value: str
    goal: str = ""
    holds: bool | None = None
    note: str = ""
    figure: float | None = None


def interleave(
    cases: Mapping[str, Callable[[], object]], rounds: int, *, warmup: int = 1, batch: int = 1
) -> dict[str, Sample]:
    """Time every case once a round, for `rounds` rounds; every other round runs backwards.

    batch: calls per measurement, for cases too short for the clock; durations are per call.
    """
    for _ in range(warmup):
        for case in cases.values():
            case()
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in _order(cases, number):
            gc.collect()
            started = time.perf_counter()
            for _ in range(batch):
                cases[name]()
            taken[name].append((time.perf_counter() - started) / batch)
    return {name: Sample(tuple(seconds)) for name, seconds in taken.items()}


async def interleave_async(
    cases: Mapping[str, Callable[[], Awaitable[object]]],
    rounds: int,
    *,
    warmup: int = 1,
    batch: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Sample]:
    """`interleave` for coroutine functions, one call at a time; `clock` may count processor time instead."""
    for _ in range(warmup):
        for case in cases.values():
            await case()
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in _order(cases, number):
            gc.collect()
            started = clock()
            for _ in range(batch):
                await cases[name]()
            taken[name].append((clock() - started) / batch)
    return {name: Sample(tuple(seconds)) for name, seconds in taken.items()}


def _order(cases: Mapping[str, object], number: int) -> list[str]:
    names = list(cases)
    return names[::-1] if number % 2 else names


def ratio(slower: Sample, faster: Sample) -> float:
    """How many times as fast: the median of the rounds' own ratios, so that a slow spell cancels out."""
    return statistics.median(a / b for a, b in zip(slower.seconds, faster.seconds, strict=True))


def sample_row(name: str, sample: Sample, note: str = "") -> Row:
    """A line of plain durations, in milliseconds."""
    value = f"{sample.median * 1000:.2f} ms (p95 {sample.p95 * 1000:.2f})"
    return Row(name, value, note=note, figure=sample.median * 1000)


def at_least(name: str, value: float, goal: float, unit: str = "×", note: str = "") -> Row:
    """A line that promises value >= goal."""
    return Row(name, _figure(value, unit), f">= {goal:g} {unit}".rstrip(), value >= goal, note, value)


def at_most(name: str, value: float, goal: float, unit: str = "×", note: str = "") -> Row:
    """A line that promises value <= goal."""
    return Row(name, _figure(value, unit), f"<= {goal:g} {unit}".rstrip(), value <= goal, note, value)


def _figure(value: float, unit: str) -> str:
    number = f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"
    return f"{number} {unit}".rstrip()


def table(title: str, rows: Iterable[Row]) -> Table:
    """The report: name, value, goal, and whether it holds."""
    report = Table(title=title, title_justify="left")
    report.add_column("measure")
    report.add_column("value", justify="right")
    report.add_column("goal", justify="right")
    report.add_column("")
    report.add_column("note", style="dim")
    marks = {None: "", True: "[green]holds[/]", False: "[red]missed[/]"}
    for row in rows:
        report.add_row(row.name, row.value, row.goal, marks[row.holds], row.note)
    return report

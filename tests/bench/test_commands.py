"""Every benchmark runs with tiny sizes, prints its table and writes its figures. No figure is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.bench.__main__ import app
from scripts.bench.measure import Sample
from scripts.local.process import unmeasured
from tests.support import MODELLESS

TINY = {
    "intake": (["--requests", "32", "--rounds", "1"], "whole hit : no I/O, processor time"),
    "queue": (["--samples", "10", "--jobs", "20"], "slot in use, 50 ms jobs, ours"),
    "recovery": (["--repetitions", "1"], "kill -9 to done by another worker"),
    "job": (["--jobs", "2", "--burst", "3"], "overhead beyond op and storage"),
    "cache": (["--rows", "2000", "--lookups", "20", "--calls", "20"], "prepared SQL, p95"),
    "depth": (
        ["--rows", "2000", "--calls", "20", "--drained", "100"],
        "load of the queue, p95, 2,000 : 100 jobs",
    ),
    "cleanup": (["--rows", "100", "--rounds", "1"], "lookup p95, meanwhile : in peace"),
    "pixels": (["--rounds", "1", "--scale", "0.1"], "0.24 MP, peak memory"),
    "cutout": (["--every", "139", "--scale", "0.1"], "products on paper, IoU >= 0.98"),
    "moderation": (["--every", "20"], "harmless, review from 0.4"),
    "upscale": (["--every", "13", "--scale", "0.1"], "peak memory of the process"),
}


@pytest.fixture
def children_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that a benchmark starts are not traced for coverage."""
    for name, value in unmeasured().items():
        monkeypatch.setenv(name, value)


MODELS = {"cutout", "moderation", "upscale"}
"""What of them runs a model; the workers of the others need not open any."""


@pytest.mark.timeout(300)
@pytest.mark.no_cover
@pytest.mark.usefixtures("children_unmeasured")
@pytest.mark.parametrize("name", TINY)
def test_benchmark_prints_its_table_and_writes_its_figures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, row = TINY[name]
    if name not in MODELS:
        for variable, value in MODELLESS.items():
            monkeypatch.setenv(variable, value)
    figures = tmp_path / "figures.json"
    result = CliRunner().invoke(app, [name, *arguments, "--json", str(figures)], env={"COLUMNS": "200"})
    assert result.exit_code in {0, 1}, result.output  # 1: a goal was missed, as it may be here
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert row in result.output
    [rows] = json.loads(figures.read_text())["benchmarks"].values()
    promised = [row for row in rows if row["holds"] is not None]
    assert promised
    assert all(isinstance(row["figure"], float) and row["goal"] for row in promised)
    assert (result.exit_code == 0) == all(row["holds"] for row in promised)


def test_percentile_is_the_nearest_rank() -> None:
    assert Sample(tuple(range(1, 101))).p95 == 95
    assert Sample((3.0,)).p95 == 3.0


def test_the_installed_command_finds_the_benchmarks_from_anywhere(tmp_path: Path) -> None:
    """scripts/ is no installed package: only the checkout has it."""
    command = [str(Path(sys.executable).parent / "darkroom"), "bench", "--help"]
    shown = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | unmeasured(),
    )
    assert "recovery" in shown.stdout

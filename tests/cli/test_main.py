"""The command line, as an operator runs it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from scripts.local.home import Local, any_free_port
from scripts.local.process import Child, Command, until_ready
from scripts.local.stack import Stack
from service.platform.settings import get_settings


@pytest.fixture(autouse=True)
def fresh_settings() -> None:
    get_settings.cache_clear()


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def on_the_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)


def test_help_names_every_command(runner: CliRunner) -> None:
    shown = runner.invoke(app, ["--help"]).output
    for command in ("api", "worker", "sweep", "cleanup", "ops", "admin", "bench"):
        assert command in shown


def test_ops_needs_no_configuration(runner: CliRunner) -> None:
    result = runner.invoke(app, ["ops"])
    assert result.exit_code == 0
    assert "resize-v1" in result.output


def test_a_worker_says_a_missing_configuration_without_a_traceback(tmp_path: Path) -> None:
    """In a process of its own, since a worker starts itself again."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "worker"],
        env={"PATH": os.environ["PATH"], "DARKROOM_ENVIRONMENT": "development"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "SUPABASE_URL is missing" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["api", "sweep", "cleanup"])
def test_a_missing_configuration_is_said_and_no_exception_leaves_the_command(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    for name in [name for name in os.environ if name.startswith(("SUPABASE_", "DARKROOM_", "REDIS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DARKROOM_ENVIRONMENT", "development")
    monkeypatch.chdir(tmp_path)  # without a .env
    result = runner.invoke(app, [command])
    assert result.exit_code == 2
    assert "SUPABASE_URL is missing" in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.usefixtures("on_the_stack")
@pytest.mark.parametrize("arguments", [["sweep"], ["cleanup"], ["cleanup", "--orphans"]])
async def test_maintenance_runs_once_and_reports(
    runner: CliRunner, local: Local, arguments: list[str]
) -> None:
    result = await asyncio.to_thread(runner.invoke, app, arguments)
    assert result.exit_code == 0, result.output
    assert "=" in result.stdout
    assert local.secret_key not in result.output


@pytest.mark.usefixtures("on_the_stack")
def test_maintenance_fails_clearly_without_the_database() -> None:
    environment = {**os.environ, "SUPABASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "sweep"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


async def test_the_api_starts_answers_and_stops(stack: Stack, tmp_path: Path) -> None:
    port = any_free_port()
    argv = [sys.executable, "-m", "cli.main", "api", "--port", str(port)]
    child = await Child.start(Command("api", argv, env=stack.environment()), tmp_path / "api.log")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await until_ready(child, lambda: client.get("/health"), 30)
            ready = await client.get("/ready", headers={"X-Forwarded-For": "203.0.113.9"})
            assert ready.json()["status"] == "ok"
            assert "server" not in ready.headers
    finally:
        status = await child.stop()
    assert status in {0, -signal.SIGTERM}
    assert "Traceback" not in child.tail(100)

"""Metrics are for a private network: on a port of their own, which nothing publishes."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from scripts.local.apps import answers
from scripts.local.home import REPOSITORY, any_free_port
from scripts.local.process import Child, Command
from scripts.local.stack import Stack
from tests.jobs import new_queue


async def refusal(stack: Stack, logs: Path, arguments: list[str], settings: dict[str, str]) -> str:
    """What a process says that does not start: one line, and exit code 2."""
    argv = [sys.executable, "-m", "cli.main", *arguments]
    child = await Child.start(Command("refused", argv, env=stack.environment(settings)), logs / "refused.log")
    try:
        async with asyncio.timeout(60):
            assert await child.wait() == 2, child.tail(20)
    finally:
        child.kill()
    said = child.tail(20).strip()
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("process", ["api", "worker"])
async def test_each_process_serves_them_on_the_private_port_alone(stack: Stack, process: str) -> None:
    port = any_free_port()
    environment = {"DARKROOM_METRICS_PORT": str(port), "DARKROOM_QUEUE": new_queue()}
    start = stack.start_api if process == "api" else stack.start_worker
    child: Child = await start(environment)
    private = f"http://127.0.0.1:{port}/metrics"
    try:
        await answers(child, private)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert "darkroom_database_writable" in (await client.get(private)).text
            if process == "api":
                public = await client.get(f"{child.url}/metrics")
                assert (public.status_code, public.json()["code"]) == (404, "not_found")
                assert "darkroom_" not in public.text
    finally:
        await child.stop()


@pytest.mark.parametrize("process", [["api", "--port", "0"], ["worker"]])
async def test_a_taken_port_is_refused_in_a_sentence(
    stack: Stack, tmp_path: Path, process: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environment = {"DARKROOM_METRICS_PORT": str(port), "DARKROOM_QUEUE": new_queue()}
        said = await refusal(stack, tmp_path, process, environment)
    assert f"DARKROOM_METRICS_PORT: port {port} of 0.0.0.0 cannot be used (address already in use)" in said
    assert "Set another" in said


async def test_the_port_of_the_api_itself_is_refused(stack: Stack, tmp_path: Path) -> None:
    port = str(any_free_port())
    said = await refusal(stack, tmp_path, ["api", "--port", port], {"DARKROOM_METRICS_PORT": port})
    assert f"DARKROOM_METRICS_PORT is {port}, where the API itself listens: set another" in said


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_taken_port_of_the_api_is_refused(stack: Stack, tmp_path: Path, processes: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        arguments = ["api", "--port", str(port), "--workers", processes]
        said = await refusal(stack, tmp_path, arguments, {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    assert f"DARKROOM_API_PORT: port {port} of 127.0.0.1 cannot be used (address already in use)" in said
    assert "--port" in said


def test_fly_scrapes_the_port_of_the_metrics_and_publishes_another() -> None:
    config = tomllib.loads((REPOSITORY / "fly.toml").read_text("utf-8"))
    port = int(config["env"]["DARKROOM_METRICS_PORT"])
    scraped = {process: entry["port"] for entry in config["metrics"] for process in entry["processes"]}
    assert scraped == dict.fromkeys(config["processes"], port)
    assert config["http_service"]["internal_port"] != port
    assert "services" not in config
    exposed = re.findall(r"^EXPOSE (.+)$", (REPOSITORY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert exposed == [str(config["http_service"]["internal_port"])]

"""Metrics are for a private network: on a port of their own, which nothing publishes."""

from __future__ import annotations

import re
import tomllib

import httpx
import pytest

from scripts.local.apps import answers
from scripts.local.home import REPOSITORY, any_free_port
from scripts.local.process import Child
from tests.jobs import new_queue
from tests.support import SharedStack


@pytest.mark.parametrize("process", ["api", "worker"])
async def test_each_process_serves_them_on_the_private_port_alone(stack: SharedStack, process: str) -> None:
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


def test_fly_scrapes_the_port_of_the_metrics_and_publishes_another() -> None:
    config = tomllib.loads((REPOSITORY / "fly.toml").read_text("utf-8"))
    port = int(config["env"]["DARKROOM_METRICS_PORT"])
    scraped = {process: entry["port"] for entry in config["metrics"] for process in entry["processes"]}
    assert scraped == dict.fromkeys(config["processes"], port)
    assert config["http_service"]["internal_port"] != port
    assert "services" not in config
    exposed = re.findall(r"^EXPOSE (.+)$", (REPOSITORY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert exposed == [str(config["http_service"]["internal_port"])]

"""The product's own processes, API and worker, started against a stack that is already running."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import httpx

from scripts.local.home import REPOSITORY, Local, any_free_port
from scripts.local.process import Child, Command, until_ready


def environment(local: Local, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings of service and workers for the stack at `local`, as environment variables."""
    return {
        "SUPABASE_URL": local.supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": local.publishable_key,
        "SUPABASE_SECRET_KEY": local.secret_key,
        "SUPABASE_JWT_SECRET": local.jwt_secret,
        "REDIS_URL": local.redis_url,
        "DARKROOM_SECRET": local.darkroom_secret,
        "DARKROOM_ENVIRONMENT": "development",
        **(extra or {}),
    }


def gateway_environment(local: Local) -> dict[str, str]:
    """What the gateway needs to know and nobody else may see."""
    return {
        "DATABASE_URL": local.database_url,
        "SUPABASE_JWT_SECRET": local.jwt_secret,
        "SUPABASE_PUBLISHABLE_KEY": local.publishable_key,
        "SUPABASE_SECRET_KEY": local.secret_key,
    }


async def start_api(
    local: Local,
    logs: Path,
    env: Mapping[str, str] | None = None,
    *,
    port: int | None = None,
    tree: Path = REPOSITORY,
) -> Child:
    """Start one API (default: on a free port), wait for GET /health; `.url` is its address. `tree`: whose code runs."""
    chosen = port or any_free_port()
    child = await _start("api", ["--port", str(chosen)], local, logs, env, tree)
    child.url = f"http://127.0.0.1:{chosen}"
    try:
        await answers(child, f"{child.url}/health")
    except BaseException:
        child.kill()
        raise
    return child


async def start_worker(
    local: Local, logs: Path, env: Mapping[str, str] | None = None, *, tree: Path = REPOSITORY
) -> Child:
    """Start one worker, of the code in `tree`. It is not restarted when it dies."""
    return await _start("worker", [], local, logs, env, tree)


async def _start(  # noqa: PLR0913, PLR0917
    name: str, options: list[str], local: Local, logs: Path, env: Mapping[str, str] | None, tree: Path
) -> Child:
    argv = [sys.executable, "-m", _entry_module(tree), name, *options]
    command = Command(name, argv, env=environment(local, env), cwd=tree, stop_seconds=30)
    return await Child.start(command, logs / f"{name}.log")


def _entry_module(tree: Path) -> str:
    """The module of the `darkroom` command; the release before may have it elsewhere than this tree."""
    project = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["project"]
    entry: str = project["scripts"]["darkroom"]
    return entry.partition(":")[0]


async def answers(child: Child, url: str, headers: Mapping[str, str] | None = None) -> None:
    """Wait until `url` of `child` answers with a success."""
    async with httpx.AsyncClient(trust_env=False) as client:

        async def probe() -> None:
            (await client.get(url, headers=headers)).raise_for_status()

        await until_ready(child, probe, 30)

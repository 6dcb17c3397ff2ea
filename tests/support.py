"""Helpers that tests share: the running stack seen from a test, unique ids, users."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from scripts.local import apps
from scripts.local.home import REPOSITORY, Local
from scripts.local.process import Child, unmeasured


@dataclass
class SharedStack:
    """The stack of the test session: `local` says where things are; API and worker can be added to it.

    Postgres, Redis and Storage are shared by all tests, also over xdist workers: use ids of your own. A test
    that breaks parts of a stack starts its own: `Stack(tmp_path, api_port=0, supabase_port=0)`.
    """

    home: Path
    local: Local
    _children: list[Child] = field(default_factory=list)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The settings of service and workers for this stack, as environment variables."""
        return apps.environment(self.local, extra)

    async def start_api(self, env: Mapping[str, str] | None = None) -> Child:
        """An API process on a free port (`.url`), ended with the session at the latest."""
        child = await apps.start_api(self.local, self.home / "logs", env)
        self._children.append(child)
        return child

    async def start_worker(self, env: Mapping[str, str] | None = None) -> Child:
        """A worker process, ended with the session at the latest."""
        child = await apps.start_worker(self.local, self.home / "logs", env)
        self._children.append(child)
        return child

    async def close(self) -> None:
        """Stop the processes started here, not the stack."""
        for child in reversed(self._children):
            await child.stop()
        self._children.clear()


def join_stack(home: Path, until_pid: int) -> Local:
    """The stack on `home`, started now if no other process has: it lives until `until_pid` ends."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _runs(home):
            _start(home, until_pid)
        return Local.model_validate_json((home / "local.json").read_bytes())


def end_stack(home: Path) -> None:
    """Stop the stack on `home`, if one runs, and wait for it."""
    if not _runs(home):
        return
    os.kill(int((home / "run.lock").read_text()), signal.SIGTERM)
    with (home / "run.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # granted when the stack has ended


def _runs(home: Path) -> bool:
    path = home / "run.lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _start(home: Path, until_pid: int) -> None:
    log = home / "stack.log"
    ports = {"DARKROOM_API_PORT": "0", "DARKROOM_SUPABASE_PORT": "0"}
    argv = [sys.executable, "-m", "scripts.local", "up", "--no-app", "--home", str(home)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*argv, "--until-pid", str(until_pid)],
            cwd=REPOSITORY,
            env={**os.environ, **unmeasured(), **ports},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 90
    while not (home / "local.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the stack did not start:\n{log.read_text()}")
        time.sleep(0.05)


def computations(stack: SharedStack, jobs: set[str]) -> int:
    """How many of these jobs have a worker that says that it reached the pixels."""
    text = (stack.home / "logs" / "worker.log").read_text()
    ended = [line for line in text.splitlines() if "job_ended" in line and "'pixels'" in line]
    return sum(
        1 for line in ended if (found := re.search(r"job_id=([0-9a-f-]{36})", line)) and found[1] in jobs
    )


@dataclass(frozen=True)
class User:
    """A signed-up user and a live session."""

    id: uuid.UUID
    email: str
    password: str
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        """Headers for Darkroom's API."""
        return {"Authorization": f"Bearer {self.token}"}


ROOMY = "roomy"
"""A plan of the tests alone: without quotas, watermark or library."""


async def make_room(local: Local) -> None:
    """Let the plan ROOMY be there. What is deployed stays as it is."""
    connection = await asyncpg.connect(local.database_url)
    try:
        await connection.execute(
            "insert into public.plans (id, name, rank, priority, max_running, max_pending, bulk, keep_days)"
            " values ($1, 'Roomy', 1, 1, 2, 50, true, 30) on conflict (id) do nothing",
            ROOMY,
        )
    finally:
        await connection.close()


async def set_plan(local: Local, user_id: uuid.UUID, plan: str) -> None:
    connection = await asyncpg.connect(local.database_url)
    try:
        await connection.execute("update public.profiles set plan_id = $2 where user_id = $1", user_id, plan)
    finally:
        await connection.close()


async def sign_up(local: Local, *, plan: str = ROOMY) -> User:
    """A new user through Auth, as the browser does it, on this plan."""
    email, password = f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(12)
    async with httpx.AsyncClient(trust_env=False, headers={"apikey": local.publishable_key}) as client:
        answer = await client.post(
            f"{local.supabase_url}/auth/v1/signup", json={"email": email, "password": password}
        )
        answer.raise_for_status()
    body = answer.json()
    user = User(uuid.UUID(body["user"]["id"]), email, password, body["access_token"])
    if plan == ROOMY:
        await make_room(local)
    if plan != "free":
        await set_plan(local, user.id, plan)
    return user


async def until_gone(look: Callable[[], Awaitable[object]]) -> None:
    """Wait, twenty seconds at most, until a look finds nothing: Storage and its workers tell nobody."""
    async with asyncio.timeout(20):
        while await look():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def new_sha256() -> str:
    """A digest no other test has used, as 64 hex digits."""
    return secrets.token_hex(32)

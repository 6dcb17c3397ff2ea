"""The stack as its users see it: one per home, clear errors, nothing left behind, parts that can be broken."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
import redis.asyncio

from scripts.local.home import REPOSITORY, Home, Local
from scripts.local.migrate import pending
from scripts.local.process import StackError, unmeasured
from scripts.local.stack import Stack
from tests.support import MODELLESS


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of the test's own, below pytest's 0700 directory: closed to other users on purpose."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for tests that start on it more than once: the first of them makes the database."""
    return tmp_path_factory.mktemp("home")


def _own_stack(home: Path) -> Stack:
    return Stack(home, api_port=0, supabase_port=0)


@asynccontextmanager
async def _supervisor(home: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m scripts.local up` on `home`, running; killed at the end if it still is."""
    ports = {"DARKROOM_API_PORT": "0", "DARKROOM_SUPABASE_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.local", "up", "--home", str(home), *arguments),
        cwd=REPOSITORY,
        env={**os.environ, **unmeasured(), **MODELLESS, **ports},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        await asyncio.wait_for(process.stdout.readuntil(b"local.json\n"), 90)  # it says so when it is up
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _local(home: Path) -> Local:
    return Local.model_validate_json((home / "local.json").read_bytes())


async def _gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those still alive after at most 20 seconds."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 20)
    return alive


async def test_two_stacks_on_one_home_is_an_error_that_names_the_home(stack: Stack) -> None:
    home = stack.home.root
    with pytest.raises(StackError, match=f"process {os.getpid()}.*{home}"):
        await _own_stack(home).__aenter__()


async def test_a_port_asked_for_and_taken_is_an_error_that_names_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("DARKROOM_API_PORT", str(port))
        with pytest.raises(StackError, match=f"port {port} .DARKROOM_API_PORT. is taken"):
            await Stack(home).__aenter__()


def test_a_taken_default_port_gives_the_next_free_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_API_PORT", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("scripts.local.home.DEFAULT_API_PORT", port)
        assert port < Home(home).ports(supabase=0).api < port + 200


def test_private_ports_stay_over_restarts(home: Path) -> None:
    first, second = (Home(home).ports(api=0, supabase=0) for _ in range(2))
    assert (first.postgres, first.redis, first.lite) == (second.postgres, second.redis, second.lite)


async def test_interrupt_stops_every_process_and_the_next_start_keeps_state(used_home: Path) -> None:
    home = used_home
    async with _supervisor(home, "--no-app") as process:
        children = psutil.Process(process.pid).children(recursive=True)
        names = {child.name() for child in children}
        assert {"postgres", "redis-server"} <= names
        connection = await asyncpg.connect(_local(home).database_url)
        await connection.execute("create table public.kept (id int)")
        await connection.close()
        keys = _local(home)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert await _gone(children) == []
        assert not (home / "local.json").exists()
    async with _own_stack(home) as stack:
        assert await pending(stack.local.database_url, REPOSITORY / "supabase" / "migrations") == []
        assert stack.local.secret_key == keys.secret_key
        connection = await asyncpg.connect(stack.local.database_url)
        assert await connection.fetchval("select to_regclass('public.kept')") is not None
        await connection.close()


async def test_a_killed_supervisor_leaves_no_orphan_and_no_stale_lock(used_home: Path) -> None:
    home = used_home
    async with _supervisor(home, "--no-app") as process:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        await process.wait()
        assert await _gone(children) == []
    async with _own_stack(home) as stack:
        connection = await asyncpg.connect(stack.local.database_url)
        assert await connection.fetchval("select 1") == 1
        await connection.close()


async def test_the_supervisor_listens_on_loopback_and_starts_api_and_worker_again(used_home: Path) -> None:
    home = used_home
    async with _supervisor(home) as process:
        assert process.stderr is not None
        listening = _listening(process.pid)
        assert len(listening) >= 5
        assert set(listening) == {"127.0.0.1"}
        children = psutil.Process(process.pid).children()
        commands = {tuple(child.cmdline()[1:4]): child for child in children}
        for role in ("api", "worker"):
            commands["-m", "cli.main", role].kill()
            line = await _line_with(process.stderr, f"{role} ended with status -9")
            assert "starting it again" in line
        await _line_with(process.stderr, "api is running again")
        async with httpx.AsyncClient(base_url=_local(home).api_url, trust_env=False) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
        process.terminate()
        await process.communicate()
        assert process.returncode == 0


async def _line_with(stream: asyncio.StreamReader, words: str) -> str:
    async with asyncio.timeout(60):
        async for line in stream:
            if words in line.decode():
                return line.decode()
    raise AssertionError(f"no line with {words!r}")


async def test_postgres_restarts_on_its_port_with_its_data_and_redis_starts_empty(used_home: Path) -> None:
    async with _own_stack(used_home) as stack:
        before = await asyncpg.connect(stack.local.database_url)
        await before.execute("create table public.kept_at_restart (id int)")
        await stack.restart_postgres()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await before.fetchval("select 1")
        after = await asyncpg.connect(stack.local.database_url)
        assert await after.fetchval("select to_regclass('public.kept_at_restart')") is not None
        await after.close()

        async with redis.asyncio.Redis.from_url(stack.local.redis_url) as client:
            await client.set("key", "value")
            await stack.kill_redis()
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.ping()
            await stack.start_redis()
            assert await client.get("key") is None

        headers = {"apikey": stack.local.secret_key}
        async with httpx.AsyncClient(base_url=stack.local.supabase_url, headers=headers) as http:
            assert (await http.get("/rest/v1/plans", params={"select": "id"})).status_code == 200


def _listening(supervisor: int) -> list[str]:
    """The addresses on which its processes listen."""
    return [
        connection.laddr.ip
        for child in psutil.Process(supervisor).children(recursive=True)
        for connection in child.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def test_secrets_are_for_their_owner_alone(stack: Stack) -> None:
    names = ("local.json", "secrets.json")
    modes = {name: (stack.home.root / name).stat().st_mode & 0o777 for name in names}
    assert modes == {"local.json": 0o600, "secrets.json": 0o600}

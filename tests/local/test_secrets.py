"""No other user of the machine can read a secret of the stack: not in a file, not in the arguments of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import redis.asyncio

from scripts.local.home import Home
from scripts.local.process import Child, Command, unmeasured
from scripts.local.stack import Stack
from tests.local.secrecy import exposed, open_to_others, secret_values, told
from tests.support import MODELLESS

_listeners: list[list[list[str]]] = []
"""Each gets the arguments of every process that this one starts."""


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        for listener in _listeners:
            listener.append([os.fsdecode(part) for part in arguments[1]])


sys.addaudithook(_on_audit)  # cannot be taken back: it does nothing outside these tests


@dataclass(frozen=True)
class Served:
    """What was to be seen of a home while its stack ran; it has stopped since."""

    home: Path
    values: dict[str, str]
    arguments: list[str]
    exposed: dict[str, list[str]]
    open_to_others: list[str]


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The first start of a home, with API and worker."""
    home = tmp_path_factory.mktemp("served") / "home"
    started: list[list[str]] = []
    _listeners.append(started)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (unmeasured() | MODELLESS).items():
            environment.setenv(name, value)
        async with Stack(home, app=True, api_port=0, supabase_port=0):
            values = secret_values(home)
            children = psutil.Process().children(recursive=True)
            running = [" ".join(process.cmdline()) for process in children]
            assert len(running) >= 6
            seen = exposed(home, values), open_to_others(home)
    _listeners.remove(started)
    return Served(home, values, [*running, *map(" ".join, started)], *seen)


def test_no_file_and_no_argument_tells_a_secret(served: Served) -> None:
    assert served.exposed == {}
    assert served.open_to_others == []
    assert any("cli.main api" in words for words in served.arguments)
    assert {words: names for words in served.arguments if (names := told(words, served.values))} == {}


def test_a_secret_in_a_readable_file_would_be_found(tmp_path: Path) -> None:
    values = {"redis_password": "c0ffee"}
    open_file, closed = tmp_path / "open", tmp_path / "closed"
    for path, mode in ((open_file, 0o644), (closed, 0o600)):
        path.write_text("requirepass c0ffee")
        path.chmod(mode)
    assert exposed(tmp_path, values) == {str(open_file): ["redis_password"]}


async def test_redis_and_postgres_want_their_passwords(stack: Stack) -> None:
    async with redis.asyncio.Redis(port=stack.ports.redis) as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()
    async with redis.asyncio.Redis.from_url(stack.local.redis_url) as client:
        assert await client.ping()
    for role in ("postgres", "supabase_lite", "supabase_admin", "authenticator"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host="127.0.0.1",
                port=stack.ports.postgres,
                user=role,
                password="postgres",
                database="postgres",
            )


async def test_a_home_of_an_older_checkout_is_closed_at_its_next_start(served: Served) -> None:
    """Older checkouts trusted every user of the machine and left files and directories readable."""
    home = served.home
    async with Stack(home, api_port=0, supabase_port=0) as stack:
        connection = await asyncpg.connect(stack.local.database_url)
        await connection.execute("alter role postgres password null; create table public.kept (id int)")
        await connection.close()
    (home / "postgres" / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
    for path in (home, home / "logs", home / "lite", home / "storage", home / "postgres"):
        path.chmod(0o755)
    for path in (home / "ports.json", home / "run.lock"):
        path.chmod(0o644)

    async with Stack(home, api_port=0, supabase_port=0) as stack:
        assert open_to_others(home) == []
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://postgres:no@127.0.0.1:{stack.ports.postgres}/postgres")
        connection = await asyncpg.connect(stack.local.database_url)
        assert await connection.fetchval("select to_regclass('public.kept')") is not None
        await connection.close()


async def test_what_goes_to_standard_input_arrives_and_logs_are_private(tmp_path: Path) -> None:
    child = await Child.start(Command("cat", ["cat"], stdin=b"said in private"), tmp_path / "cat.log")
    assert await child.wait() == 0
    assert (tmp_path / "cat.log").read_bytes() == b"said in private"
    assert (tmp_path / "cat.log").stat().st_mode & 0o077 == 0


def test_the_command_of_a_home_says_when_no_stack_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.open()
    home.write_command()
    home.close()
    done = subprocess.run([home.command, "ops"], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 1
    assert "start it with ./scripts/run" in done.stderr

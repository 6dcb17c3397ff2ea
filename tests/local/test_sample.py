"""What a newcomer gets from `./scripts/run`: the sample account, one click away, and the printed command."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from scripts.local import sample as sample_account
from scripts.local.home import REPOSITORY, Home, Local
from scripts.local.process import unmeasured
from scripts.local.products import PRODUCTS
from scripts.local.sample import Sample
from scripts.local.stack import Stack
from tests.local.secrecy import exposed, open_to_others, secret_values, told
from tests.node_cases import Results, cases_in, check, run_cases

pytestmark = pytest.mark.timeout(400)  # a stack is started, and a library made

SCRIPT = Path(__file__).parent / "node" / "sample.mjs"
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
)
OWN = len(PRODUCTS) + 1 - 2  # with the photograph; two are the team's


@dataclass(frozen=True)
class Run:
    """A `scripts/run` that serves, and what it has printed so far."""

    home: Home
    local: Local
    sample: Sample
    printed: str


async def _interrupted(home: Path) -> None:
    """A first start whose filling of the account ends in the middle."""

    def interrupt(done: int, _steps: int) -> None:
        if done == 5:
            raise InterruptedError

    async with Stack(home, app=True, sample=True, api_port=0, supabase_port=0) as stack:
        await stack.worker_ready()
        with pytest.raises(InterruptedError):
            await stack.fill_sample_account(interrupt)
        assert not stack.home.sample_json.exists()


@pytest.fixture(scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    """The second start, which takes up the filling that the first one left unfinished."""
    home = Home(tmp_path_factory.mktemp("newcomer") / "home")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in unmeasured().items():
            environment.setenv(name, value)
        await _interrupted(home.root)
    settings = {"DARKROOM_HOME": str(home.root), "DARKROOM_API_PORT": "0", "DARKROOM_SUPABASE_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.local", "run"),
        cwd=REPOSITORY,
        env={**os.environ, **unmeasured(), **settings, "COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(170):
            async for line in process.stdout:
                lines.append(line.decode())
                if "Its password and API key" in lines[-1]:
                    break
        yield Run(
            home,
            Local.model_validate_json(home.local_json.read_bytes()),
            Sample.model_validate_json(home.sample_json.read_bytes()),
            "".join(lines),
        )
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _signed_in(local: Local, email: str, password: str) -> httpx.AsyncClient:
    session = await sample_account.open_account(local.supabase_url, local, password, email)
    headers = {"Authorization": f"Bearer {session.token}"}
    return httpx.AsyncClient(base_url=local.api_url, headers=headers, trust_env=False, timeout=60)


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _check_library(local: Local, sample: Sample) -> None:
    """Everything that the account is to have, each thing once."""
    async with await _signed_in(local, sample.email, sample.password) as client:
        assert (await _get(client, "/me"))["plan"]["id"] == "pro"
        images = (await _get(client, "/images?limit=100"))["images"]
        assert len({image["filename"] for image in images}) == len(images) == OWN
        assert sorted(image["versions"] for image in images)[-3:] == [2, 3, 3]
        assert all(image["thumbnail_url"] and image["original_kept"] for image in images)
        [team] = (await _get(client, "/teams"))["teams"]
        assert team["seats_taken"] == 2
        assert len((await _get(client, f"/images?team_id={team['team_id']}"))["images"]) == 2
        collections = (await _get(client, "/collections"))["collections"]
        assert {each["name"]: each["images"] for each in collections} == {
            "Kitchen": 4,
            "Mugs": 4,
            "Living room": 3,
        }
        movements = (await _get(client, "/credits/history"))["movements"]
        assert {each["reason"] for each in movements} >= {"signup_grant", "subscription", "admin_grant"}
        assert len((await _get(client, "/usage"))["days"]) > 10
        keys = (await _get(client, "/api-keys"))["api_keys"]
        assert [key["name"] for key in keys if key["status"] == "active"] == [sample_account.KEY]


async def test_the_account_is_filled_to_the_end_and_the_books_are_right(run: Run) -> None:
    await _check_library(run.local, run.sample)
    connection = await asyncpg.connect(run.local.database_url)
    assert await connection.fetch("select * from public.check_invariants()") == []
    await connection.close()


async def test_the_shared_picture_opens_and_the_api_key_works(run: Run) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        opened = await client.get(run.sample.share_url, follow_redirects=True)
        assert opened.headers["content-type"] == "image/webp"
        headers = {"Authorization": f"Bearer {run.sample.api_key}"}
        balance = await client.get(f"{run.local.api_url}/credits/balance", headers=headers)
        assert balance.json()["balance"] > 1000


async def test_credentials_are_of_this_home_and_told_by_the_local_stack(run: Run) -> None:
    async with httpx.AsyncClient(base_url=run.local.api_url, trust_env=False) as client:
        told = (await client.get("/config.json")).json()["local"]
    assert told["email"] == run.sample.email
    assert told["password"] == run.home.secrets().sample_password == run.sample.password
    assert told["command"] == str(run.home.command)
    assert run.home.sample_json.stat().st_mode & 0o077 == 0


def test_nobody_else_can_read_anything_in_the_home(run: Run) -> None:
    assert open_to_others(run.home.root) == []
    secrets = {**secret_values(run.home.root), "api_key": run.sample.api_key}
    assert exposed(run.home.root, secrets) == {}
    assert told(run.printed, secrets) == []


async def test_the_printed_command_gives_a_new_account_another_plan(run: Run) -> None:
    """Word by word as it is printed, from another directory."""
    [line] = [line for line in run.printed.splitlines() if line.startswith("Darkroom ")]
    command = line.split()[1:]
    assert command[1:] == ["admin", "plan", "you@example.com", "pro"]
    async with await _signed_in(run.local, "you@example.com", "a-long-password") as client:
        assert (await _get(client, "/me"))["plan"]["id"] == "free"
        process = await asyncio.create_subprocess_exec(
            str(REPOSITORY / command[0]),
            *command[1:],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        out, _ = await process.communicate(b"trying\n")
        assert process.returncode == 0, out.decode()
        assert b"free -> pro" in out
        assert (await _get(client, "/me"))["plan"]["id"] == "pro"


@pytest.fixture(scope="module")
async def results(run: Run) -> Results:
    scene = {
        "api_url": run.local.api_url,
        "executable": CHROMIUM,
        "shots": os.environ.get("SHOTS"),
    }
    return await run_cases(SCRIPT, "SAMPLE", scene, seconds=120)


@pytest.mark.browser
@pytest.mark.parametrize("name", cases_in(SCRIPT))
def test_page(results: Results, name: str) -> None:
    check(results, name)


async def test_a_filled_account_is_left_alone_until_another_is_in_its_place(run: Run) -> None:
    """The last test of this module: it makes another sample.json."""
    sample, password = run.sample, run.sample.password
    session = await sample_account.open_account(run.local.supabase_url, run.local, password)
    assert sample_account.filled(run.home, session) == sample
    async with await _signed_in(run.local, sample.email, password) as client:
        [first, *_rest] = (await _get(client, "/images"))["images"]
        assert (await client.delete(f"/images/{first['image_id']}")).status_code == 204
    run.home.sample_json.write_text(json.dumps({"of": "another account"}))
    assert sample_account.filled(run.home, session) is None
    refilled = await sample_account.fill(run.home, run.local, session, password, lambda _done, _steps: None)
    await _check_library(run.local, refilled)

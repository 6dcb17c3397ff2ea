"""darkroom.js and the playground in real headless Chromium (and Node), on the real API, worker and stack.

The cases are JavaScript (`node/*.mjs`); each is one test here, by its name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from scripts.local.home import REPOSITORY, Local
from scripts.local.lite import NODE
from scripts.local.process import Child
from tests.browser.pictures import write_all
from tests.node_cases import Results, cases_in, check, run_cases

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1300)]

SCRIPTS = Path(__file__).parent / "node"
CASES = cases_in(*sorted(SCRIPTS.glob("*.mjs")))
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
)


@pytest.fixture(scope="session")
async def results(
    local: Local, api: Child, worker: Child, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp("pictures")
    scene = {
        "local": local.model_dump(mode="json") | {"api_url": api.url},
        "pictures": await asyncio.to_thread(write_all, folder),
        "chromium": CHROMIUM,
        "profiles": str(folder),
    }
    return await run_cases(SCRIPTS / "run.mjs", "BROWSER_TESTS", scene, seconds=1200)


@pytest.mark.parametrize("name", CASES)
def test_case(results: Results, name: str) -> None:
    check(results, name)


async def test_types() -> None:
    """darkroom.js, the playground and a frontend that uses it pass TypeScript's strict check of JavaScript."""
    tsc = REPOSITORY / "node_modules" / "typescript" / "bin" / "tsc"
    process = await asyncio.create_subprocess_exec(
        NODE, tsc, "-p", Path(__file__).parent / "types", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()

"""darkroom.js and the playground in real headless Chromium (and Node), on the real API, worker and stack.

The cases are JavaScript (`node/*.mjs`); each is one test here, by its name.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from scripts.local.home import REPOSITORY, Local
from scripts.local.lite import NODE
from scripts.local.process import Child
from tests.browser.pictures import write_all

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SCRIPTS = Path(__file__).parent / "node"
CASES = [
    name
    for path in sorted(SCRIPTS.glob("*.mjs"))
    for name in re.findall(r"^test\('(.+?)', ", path.read_text(), re.MULTILINE)
]
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
)


@pytest.fixture(scope="session")
async def results(
    local: Local, api: Child, worker: Child, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """Name of a case -> its error, None when it passed."""
    folder = tmp_path_factory.mktemp("pictures")
    environment = {
        "local": local.model_dump(mode="json") | {"api_url": api.url},
        "pictures": await asyncio.to_thread(write_all, folder),
        "chromium": CHROMIUM,
        "profiles": str(folder),
    }
    process = await asyncio.create_subprocess_exec(
        NODE,
        SCRIPTS / "run.mjs",
        cwd=REPOSITORY,
        env={**os.environ, "BROWSER_TESTS": json.dumps(environment)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(540):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    lines = [json.loads(line) for line in out.splitlines()]
    return {line["name"]: line["error"] for line in lines}


@pytest.mark.parametrize("name", CASES)
def test_case(results: dict[str, str | None], name: str) -> None:
    assert name in results, "the case did not run"
    if results[name] is not None:
        pytest.fail(str(results[name]), pytrace=False)


async def test_types() -> None:
    """darkroom.js, the playground and a frontend that uses it pass TypeScript's strict check of JavaScript."""
    tsc = REPOSITORY / "node_modules" / "typescript" / "bin" / "tsc"
    process = await asyncio.create_subprocess_exec(
        NODE, tsc, "-p", Path(__file__).parent / "types", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()

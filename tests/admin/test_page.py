"""The page at /admin in real headless Chromium. The cases are JavaScript (`node/page.mjs`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.browser.test_browser import CHROMIUM
from tests.node_cases import Results, cases_in, check, run_cases

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

SCRIPTS = Path(__file__).parent / "node"
CASES = cases_in(SCRIPTS / "page.mjs")


@pytest.fixture(scope="session")
async def results(local: Local, api: Child) -> Results:
    scene = {
        "local": local.model_dump(mode="json") | {"api_url": api.url},
        "pictures": {},
        "chromium": CHROMIUM,
    }
    return await run_cases(SCRIPTS / "run.mjs", "BROWSER_TESTS", scene, seconds=360)


@pytest.mark.parametrize("name", CASES)
def test_case(results: Results, name: str) -> None:
    check(results, name)

"""The contract with the JavaScript clients: unmodified supabase-js and tus-js-client against the stack.

The cases are JavaScript (`node/*.mjs`); each is one test here, by its name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local.home import Local
from tests.node_cases import Results, cases_in, check, run_cases

pytestmark = pytest.mark.node

SCRIPTS = Path(__file__).parent / "node"
CASES = cases_in(*sorted(SCRIPTS.glob("*.mjs")))


@pytest.fixture(scope="package")
async def results(local: Local, policy: None) -> Results:
    return await run_cases(SCRIPTS / "run.mjs", "CONTRACT", local.model_dump(mode="json"), seconds=120)


@pytest.mark.parametrize("name", CASES)
def test_case(results: Results, name: str) -> None:
    check(results, name)


def test_no_case_is_unknown(results: Results) -> None:
    assert sorted(results) == sorted(CASES)

"""The contract with the JavaScript clients: unmodified supabase-js and tus-js-client against the stack.

The cases are JavaScript (`node/*.mjs`); each is one test here, by its name.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from scripts.local.home import Local
from scripts.local.lite import NODE

pytestmark = pytest.mark.node

SCRIPTS = Path(__file__).parent / "node"
CASES = [
    name
    for path in sorted(SCRIPTS.glob("*.mjs"))
    for name in re.findall(r"^test\('(.+?)', ", path.read_text(), re.MULTILINE)
]


@pytest.fixture(scope="session")
async def results(local: Local, policy: None) -> dict[str, str | None]:
    """Name of a case -> its error, None when it passed."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        SCRIPTS / "run.mjs",
        env={**os.environ, "CONTRACT": local.model_dump_json()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    lines = [json.loads(line) for line in out.splitlines()]
    return {line["name"]: line["error"] for line in lines}


@pytest.mark.parametrize("name", CASES)
def test_case(results: dict[str, str | None], name: str) -> None:
    assert name in results, "the case did not run"
    if results[name] is not None:
        pytest.fail(str(results[name]), pytrace=False)


def test_no_case_is_unknown(results: dict[str, str | None]) -> None:
    assert sorted(results) == sorted(CASES)

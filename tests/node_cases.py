"""Cases written in JavaScript (tests/node/cases.mjs), each one test of pytest by its name."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.local.home import REPOSITORY
from scripts.local.lite import NODE

Results = dict[str, str | None]
"""Name of a case -> its error, None when it passed."""


def cases_in(*scripts: Path) -> list[str]:
    return [
        name
        for script in scripts
        for name in re.findall(r"^test\('(.+?)', ", script.read_text("utf-8"), re.MULTILINE)
    ]


async def run_cases(script: Path, variable: str, scene: Mapping[str, Any], *, seconds: float) -> Results:
    """Run a script in Node; it reads `scene` as JSON from an environment variable."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        script,
        cwd=REPOSITORY,
        env={**os.environ, variable: json.dumps(scene)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        pytest.fail(f"{script.name} ended with {process.returncode}:\n{err.decode()}", pytrace=False)
    return {line["name"]: line["error"] for line in map(json.loads, out.splitlines())}


def check(results: Results, name: str) -> None:
    if name not in results:
        pytest.fail("the case did not run", pytrace=False)
    if results[name] is not None:
        pytest.fail(str(results[name]), pytrace=False)

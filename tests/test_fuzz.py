"""Fuzzing by the OpenAPI document: whatever is sent, no answer is a 5xx, and every answer is a documented one."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from scripts.local.process import Child
from tests.support import User

EXAMPLES = os.environ.get("DARKROOM_FUZZ_EXAMPLES", "40")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "user"])
async def test_no_request_breaks_the_service(api: Child, user: User, signed_in: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--seed", "1", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "20"]
    if signed_in:
        command += ["--header", f"Authorization: Bearer {user.token}"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()

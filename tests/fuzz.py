"""Fuzzing an API by its OpenAPI document with Schemathesis."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from scripts.local.process import unmeasured
from tests.support import examples

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


async def fuzz(
    address: str, folder: Path, count: int, *options: str, borders: bool = True, token: str | None = None
) -> None:
    """Send every operation of the API at `address` its documented examples, the borders of what its schema allows (if
    `borders`), and `count` random requests (times DARKROOM_EXAMPLES; the same ones each time, by a fixed seed). Fails
    when an answer is a 5xx or not as documented. folder: an empty one, for Schemathesis to work in; options: further
    ones of its command line."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"]
    command += [
        "--checks",
        ",".join(CHECKS),
        "--max-examples",
        str(examples(count)),
        "--seed",
        "1",
        "--no-color",
    ]
    phases = "examples,coverage,fuzzing" if borders else "examples,fuzzing"
    command += ["--phases", phases, "--request-timeout", "20", *options]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **unmeasured()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()

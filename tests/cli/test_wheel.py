"""The package as a deployment has it: built from what the Dockerfile copies, installed where no checkout is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from scripts.local.home import REPOSITORY, any_free_port
from scripts.local.process import Child, Command, until_ready
from scripts.local.stack import Stack
from service.platform.pages import ADMIN, CLIENT, PLAYGROUND

UV = Path(sys.executable).parent / "uv"
COPY = re.compile(r"^COPY (?:--from=vendor /src/)?(?P<sources>\w.*) (?P<target>\S+)$", re.MULTILINE)
PAGES = {"": PLAYGROUND / "index.html", "admin": ADMIN / "index.html"}
VERSION = re.compile(rb"(?<=\"static/)v-[0-9a-f]{16}/")
FILES = {"static": (PLAYGROUND, CLIENT), "admin/static": (ADMIN,)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of an environment with the wheel; what it depends on is that of the tests, without the checkout."""
    tree = _image_sources(tmp_path_factory.mktemp("src"))
    out = tmp_path_factory.mktemp("wheel")
    _run(
        UV,
        "build",
        "--offline",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "-o",
        out,
        tree,
    )
    place = tmp_path_factory.mktemp("app")
    venv.create(place)
    python = place / "bin" / "python"
    [wheel] = out.glob("*.whl")
    _run(UV, "pip", "install", "--offline", "--no-deps", "--python", python, wheel)
    # Of a folder that a .pth names, no .pth counts: that of the checkout stays out.
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def _image_sources(tree: Path) -> Path:
    """What the Dockerfile's stage `build` has in its folder when it installs the package, without fonts."""
    stage = (REPOSITORY / "Dockerfile").read_text("utf-8").split(" AS build")[1].split("\nFROM ")[0]
    for match in COPY.finditer(stage):
        for source in match["sources"].split():
            target = tree / match["target"] / (source if match["target"] == "./" else "")
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.startswith("node_modules/"):
                continue
            if (REPOSITORY / source).is_dir():
                shutil.copytree(REPOSITORY / source, target, dirs_exist_ok=True)
            else:
                shutil.copy(REPOSITORY / source, target)
    return tree


def _run(*argv: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_starts(installed: Path, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"]}
    shown = _run(installed / "darkroom", "--help", env=env, cwd=tmp_path)
    assert "worker" in shown
    where = (
        "import cli.main, service.app, workers.main; print(cli.__file__, service.__file__, workers.__file__)"
    )
    for file in _run(installed / "python", "-c", where, env=env, cwd=tmp_path).split():
        assert Path(file).is_relative_to(installed.parent)


def test_the_benchmarks_stay_in_the_checkout(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "darkroom", "bench"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "run this in a checkout" in done.stderr


async def test_the_api_serves_the_pages(installed: Path, stack: Stack, tmp_path: Path) -> None:
    """Every file of web/ and clients/js, byte for byte but for the version in the addresses of what a page loads."""
    port = any_free_port()
    argv = [str(installed / "darkroom"), "api", "--port", str(port)]
    child = await Child.start(
        Command("api", argv, env=stack.environment(), cwd=tmp_path), tmp_path / "api.log"
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await until_ready(child, lambda: client.get("/health"), 30)
            expected = PAGES | {
                f"{address}/{file.relative_to(folder)}": file
                for address, folders in FILES.items()
                for folder in folders
                for file in folder.rglob("*")
                if file.is_file() and not file.name.startswith(".")
            }
            assert {
                "static/darkroom/hash-worker.js",
                "static/vendor/tus.js",
                "static/ui/teams/team.js",
            } <= set(expected)
            for path, file in expected.items():
                answer = await client.get(f"/{path}")
                assert answer.status_code == 200, path
                assert VERSION.sub(b"", answer.content) == file.read_bytes(), path
    finally:
        await child.stop()

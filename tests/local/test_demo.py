"""`scripts/run --once` as a user calls it: own picture, own directory, exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.local.demo import SAMPLE, stamped_sample
from scripts.local.home import REPOSITORY
from scripts.local.process import unmeasured
from tests.support import MODELLESS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all starts: the first makes the database, the others find it."""
    return tmp_path_factory.mktemp("newcomer") / "home"


async def _run_once(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and everything printed."""
    ports = {"DARKROOM_HOME": str(home), "DARKROOM_API_PORT": "0", "DARKROOM_SUPABASE_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.local", "run", "--once", *arguments),
        cwd=REPOSITORY,
        env={**os.environ, **unmeasured(), **MODELLESS, **ports, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_picture_goes_through_and_the_second_time_is_a_hit(home: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "blue.png", tmp_path / "out"
    Image.new("RGB", (640, 480), "blue").save(photo)
    status, text = await _run_once(
        home, str(photo), "resize-v1:width-320+convert-v1:format-png", "--out", str(out)
    )
    assert status == 0, text

    result = json.loads((out / "result.json").read_text())
    assert result["job"]["status"] == "done"
    assert result["cached"] == {"first": False, "second": True}
    assert result["timings"]["second"]["total"] < result["timings"]["first"]["total"]
    with Image.open(out / "output.png") as image:
        assert image.size == (320, 240)
        assert image.convert("RGB").getpixel((160, 120)) == pytest.approx((0, 0, 255), abs=3)
    with Image.open(out / "thumb.webp") as thumb:
        assert max(thumb.size) == 256


async def test_a_refusal_ends_with_a_reason_and_a_status(home: Path) -> None:
    status, text = await _run_once(home, str(SAMPLE), "nonsense-v1")
    assert status == 1
    assert "intake: HTTP 422: unknown_op" in text


@pytest.mark.parametrize("name", ["missing.jpg", "notes.txt"])
async def test_what_is_no_picture_is_refused_before_anything_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    status, text = await _run_once(tmp_path / "home", str(tmp_path / name), "resize-v1:width-320")
    assert status == 1
    assert name in text
    assert not (tmp_path / "home").exists()


def test_the_sample_is_a_camera_file_and_new_each_time(tmp_path: Path) -> None:
    path = tmp_path / "sample.jpg"
    path.write_bytes(stamped_sample())
    with Image.open(path) as stamped, Image.open(SAMPLE) as original:
        assert stamped.getexif()[0x0112] == 6
        assert stamped.getexif().get_ifd(0x8825)
        assert stamped.tobytes() == original.tobytes()
    assert stamped_sample() != stamped_sample()

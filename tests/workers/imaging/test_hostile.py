"""Every file of the hostile corpus ends in the problem it deserves; the pool lives and its memory is bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.hostile.corpus import build, samples, write
from tests.hostile.make import DONE, Hostile, good, hostile
from workers.imaging.pool import PixelPool
from workers.imaging.types import Claim, PixelTask
from workers.pixel_errors import CODES, PixelError

pytestmark = pytest.mark.usefixtures("pixel_server")
_MEMORY_MB = 768


async def _outcome(pool: PixelPool, path: Path, sample: Hostile, workdir: Path) -> tuple[str, str]:
    await asyncio.to_thread(workdir.mkdir)
    claim = Claim(sample.width, sample.height)
    try:
        result = await pool.run(PixelTask(path, workdir, "", claim))
    except PixelError as error:
        return error.code, error.detail
    output = await asyncio.to_thread(result.output.read_bytes)
    return ("payload survived" if sample.payload and sample.payload in output else DONE), ""


def test_the_corpus_is_large_and_always_the_same() -> None:
    names = [sample.name for sample in samples()]
    assert len(names) == len(set(names))
    assert len(names) >= 140
    assert all(sample.expect <= CODES | {DONE} for sample in samples())


async def test_every_file_ends_in_its_problem(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir()
    files = await asyncio.to_thread(build, directory)
    worker = psutil.Process()
    async with PixelPool(
        workers=2, memory_mb=_MEMORY_MB, seconds=30, entry="tests.workers.imaging.entries:whole"
    ) as pool:
        before = worker.memory_info().rss
        ends = await asyncio.gather(
            *(_outcome(pool, path, sample, tmp_path / sample.name) for path, sample in files.items())
        )
        wrong = {
            sample.name: code
            for sample, (code, _) in zip(files.values(), ends, strict=True)
            if code not in sample.expect
        }
        assert wrong == {}
        told = [detail for code, detail in ends if code != DONE]
        assert all(detail.endswith(".") and str(tmp_path) not in detail for detail in told)
        honest = hostile("good.jpg", good("jpg"), DONE)
        assert await _outcome(pool, write(honest, tmp_path), honest, tmp_path / "good") == (DONE, "")
        # The worker itself never holds a picture.
        assert worker.memory_info().rss - before < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "name", ["zeros-7071.png", "float-zeros-7071.tif", "text-bomb.png", "frames-500000.gif"]
)
async def test_a_child_stays_within_its_memory(tmp_path: Path, name: str) -> None:
    """The kernel's own high-water mark of the child, not our opinion of it."""
    sample = next(sample for sample in samples() if sample.name == name)
    path = tmp_path / name
    path.write_bytes(sample.data)
    async with PixelPool(
        workers=1, memory_mb=_MEMORY_MB, seconds=30, entry="tests.workers.imaging.entries:weighed"
    ) as pool:
        task = PixelTask(path, tmp_path, "", Claim(sample.width, sample.height))
        try:
            await pool.run(task)
        except PixelError as error:
            assert error.code in sample.expect  # noqa: PT017
        peak_mb = int((tmp_path / "peak").read_text()) / 1024
        assert peak_mb < _MEMORY_MB

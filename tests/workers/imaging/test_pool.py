"""The pool outlives whatever runs in it, and nothing outlives the pool."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image
from structlog.testing import capture_logs

from tests.support import PATIENCE
from tests.workers.imaging.entries import LARGE_IMPORT, MB, REUSED
from workers.imaging.pool import PixelPool
from workers.imaging.types import PixelTask
from workers.pixel_errors import PixelError

ENTRY = "tests.workers.imaging.entries:misbehave"
Make = Callable[[str], PixelTask]


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[PixelPool]:
    async with PixelPool(workers=1, memory_mb=256, seconds=20, entry=ENTRY) as pool:
        yield pool


async def _pid(task: PixelTask) -> int:
    """The process a task runs in, as soon as it has announced itself."""
    announcement = task.workdir / "pid"
    async with asyncio.timeout(PATIENCE):
        while not (announcement.exists() and announcement.read_text().endswith("\n")):  # noqa: ASYNC110 - the event is a file of another process
            await asyncio.sleep(0.005)
    return int(announcement.read_text())


async def _works(pool: PixelPool, make_task: Make) -> bool:
    result = await pool.run(make_task("webp"))
    with Image.open(result.output) as image:
        return (
            image.size == (120, 80) and image.format == "WEBP" and result.size == result.output.stat().st_size
        )


@pytest.mark.parametrize(
    ("misdeed", "code", "retryable"),
    [
        ("abort", "pixel_crash", False),
        ("segfault", "pixel_crash", False),
        ("killed", "pixel_crash", True),
        ("refuse", "op_failed", False),
        ("raise", "internal", False),
    ],
)
async def test_a_misdeed_fails_its_own_task_only(
    pool: PixelPool, make_task: Make, misdeed: str, code: str, retryable: bool
) -> None:
    task = make_task(misdeed)
    with pytest.raises(PixelError) as failure:
        await pool.run(task)
    assert (failure.value.code, failure.value.retryable) == (code, retryable)
    assert await _works(pool, make_task)


async def test_a_fault_of_ours_is_logged_and_told_without_its_class(pool: PixelPool, make_task: Make) -> None:
    with capture_logs() as logs, pytest.raises(PixelError) as failure:
        await pool.run(make_task("raise"))
    assert failure.value.detail == "Processing this picture failed by a fault of ours."
    assert [line["cause"] for line in logs] == ["ZeroDivisionError: a bug of an op"]


@pytest.mark.parametrize("misdeed", ["spin", "spin-in-c"])
async def test_an_endless_task_is_killed_at_its_time_limit(make_task: Make, misdeed: str) -> None:
    async with PixelPool(workers=1, seconds=1, entry=ENTRY) as pool:
        task = make_task(misdeed)
        with pytest.raises(PixelError, match="longer than 1 seconds") as failure:
            await pool.run(task)
        assert failure.value.code == "pixel_timeout"
        assert not psutil.pid_exists(await _pid(task))
        assert await _works(pool, make_task)


async def test_memory_is_limited(make_task: Make) -> None:
    async with PixelPool(workers=1, memory_mb=128, seconds=20, entry=ENTRY) as pool:
        for misdeed in ("hoard", "encode"):  # one allocates in Python, the other in an encoder
            with pytest.raises(PixelError) as failure:
                await pool.run(make_task(misdeed))
            assert failure.value.code == "pixel_memory"
        assert await _works(pool, make_task)


async def test_files_are_limited(make_task: Make) -> None:
    async with PixelPool(workers=1, seconds=20, entry=ENTRY) as pool:
        task = make_task("flood")
        with pytest.raises(PixelError, match="a fault of ours"):
            await pool.run(task)
        assert (task.workdir / "flood").stat().st_size <= 512 * 1024 * 1024


async def test_every_task_has_a_child_of_its_own(pool: PixelPool, make_task: Make) -> None:
    tasks = [make_task("webp") for _ in range(3)]
    for task in tasks:
        await pool.run(task)
    assert len({(task.workdir / "pid").read_text() for task in tasks}) == 3


async def test_cancelling_kills_the_child(make_task: Make) -> None:
    async with PixelPool(workers=1, seconds=60, entry=ENTRY) as pool:
        task = make_task("spin-in-c")
        running = asyncio.create_task(pool.run(task))
        child = psutil.Process(await _pid(task))
        running.cancel()
        # At once, though nothing in the child listens.
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [child], 2.5)
        assert gone == [child]
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await _works(pool, make_task)


async def test_an_idle_child_that_is_killed_is_replaced(pool: PixelPool, make_task: Make) -> None:
    await pool.run(make_task("webp"))
    assert pool.forkserver is not None
    async with asyncio.timeout(PATIENCE):
        while not (idle := psutil.Process(pool.forkserver).children()):  # noqa: ASYNC110 - the next one is on its way
            await asyncio.sleep(0.005)
    idle[0].send_signal(signal.SIGKILL)
    await asyncio.to_thread(psutil.wait_procs, idle, 5)
    try:
        assert await _works(pool, make_task)
    except PixelError as error:  # asked before the loss was noticed: this one may be repeated
        assert (error.code, error.retryable) == ("pixel_crash", True)  # noqa: PT017
        assert await _works(pool, make_task)


async def test_a_fork_server_that_is_killed_is_replaced(make_task: Make) -> None:
    async with PixelPool(workers=1, seconds=20, entry=ENTRY) as pool:
        assert pool.forkserver is not None
        server = psutil.Process(pool.forkserver)
        family = [server, *server.children()]
        task = make_task("spin")
        running = asyncio.create_task(pool.run(task))
        await _pid(task)
        server.kill()
        with pytest.raises(PixelError) as failure:
            await running
        assert (failure.value.code, failure.value.retryable) == ("pixel_crash", True)
        assert await _works(pool, make_task)
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, 5)
        assert alive == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="relies on mallopt")
async def test_children_do_not_inherit_what_imports_have_freed() -> None:
    """They would be given that memory first, and copy it page by page before they write to it."""
    sizes = []
    for entry in (ENTRY, "tests.workers.imaging.large_import:misbehave"):
        async with PixelPool(workers=1, entry=entry) as pool:
            assert pool.forkserver is not None
            sizes.append(psutil.Process(pool.forkserver).memory_info().rss)
    assert sizes[1] - sizes[0] < LARGE_IMPORT / 4


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="relies on mallopt")
async def test_a_child_uses_memory_again_that_it_has_freed(pool: PixelPool, make_task: Make) -> None:
    task = make_task("reuse")
    await pool.run(task)
    assert int((task.workdir / "touched").read_text()) < REUSED * MB // resource.getpagesize() / 2


async def test_tasks_wait_for_a_free_child(pool: PixelPool, make_task: Make) -> None:
    results = await asyncio.gather(*(pool.run(make_task("webp")) for _ in range(6)))
    assert len({result.output for result in results}) == 6
    assert len({result.sha256 for result in results}) == 1


async def test_closing_ends_what_runs_and_what_waits(make_task: Make) -> None:
    pool = PixelPool(workers=1, seconds=60, entry=ENTRY)
    task = make_task("spin")
    tasks = [asyncio.create_task(pool.run(one)) for one in (task, make_task("webp"), make_task("webp"))]
    pid = await _pid(task)
    await pool.close()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(ended, PixelError)
        assert (ended.code, ended.retryable) == ("pixel_crash", True)
    assert not psutil.pid_exists(pid)


async def test_an_entry_that_does_not_exist_is_told_at_start() -> None:
    with pytest.raises(RuntimeError, match="cannot start"):
        await PixelPool(workers=1, entry="tests.workers.imaging.entries:nothing").start()


@pytest.mark.skipif(sys.platform != "linux", reason="relies on F_SETSIG")
@pytest.mark.parametrize("misdeed", ["spin-in-c", "webp"])
async def test_a_killed_worker_leaves_no_orphan(make_task: Make, misdeed: str) -> None:
    """Whether the child idles or is lost in a call that never returns to Python."""
    task = make_task(misdeed)
    program = (
        "import asyncio, sys, pathlib\n"
        "from workers.imaging.pool import PixelPool\n"
        "from workers.imaging.types import Claim, PixelTask\n"
        "async def main():\n"
        f"    pool = PixelPool(workers=1, seconds=60, entry={ENTRY!r})\n"
        "    paths = [pathlib.Path(name) for name in sys.argv[1:3]]\n"
        "    await pool.run(PixelTask(*paths, sys.argv[3], Claim(120, 80)))\n"
        "    await asyncio.Event().wait()\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    script = task.workdir / "worker.py"
    script.write_text(program)
    root = Path(__file__).parents[3]
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        str(task.source),
        str(task.workdir),
        misdeed,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    pid = await _pid(task)
    family = psutil.Process(worker.pid).children(recursive=True)
    if misdeed == "spin-in-c":  # the other one ends with its picture
        assert pid in {process.pid for process in family}
    worker.kill()
    await worker.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []

"""Temporary files of a killed process are removed by the next one, and by those that still run; no others are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.local.home import REPOSITORY
from service.platform.scratch import Scratch, ScratchError

HOLDER = (
    "import sys, signal, pathlib\n"
    "from service.platform.scratch import Scratch\n"
    "with Scratch(pathlib.Path(sys.argv[1])).directory() as directory:\n"
    "    (directory / 'picture').write_bytes(b'private')\n"
    "    print(directory, flush=True)\n"
    "    signal.pause()\n"
)


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a picture in a temporary directory, and that directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


async def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    parent = tmp_path / "scratch"
    dead, left = await asyncio.to_thread(holder, parent)
    alive, kept = await asyncio.to_thread(holder, parent)
    sibling = Scratch(parent)
    with sibling.directory() as mine:
        assert sibling.sweep() == 0
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert (left / "picture").exists()
        assert sibling.sweep() == 1
        assert not left.parent.exists()
        assert (kept / "picture").read_bytes() == b"private"
        assert mine.exists()
        alive.kill()
        alive.wait()
        async with Scratch(parent):  # the next process, when it starts
            assert not kept.parent.exists()
            assert mine.exists()
    sibling.close()
    assert list(parent.iterdir()) == []


def test_only_this_user_can_look(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "a" / "scratch")
    with scratch.directory() as directory:
        for path in (directory, directory.parent, directory.parent.parent):
            assert path.stat().st_mode & 0o777 == 0o700
    scratch.close()


def test_a_parent_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o777)
    elsewhere.symlink_to(shared)
    for parent in (shared, elsewhere):
        with pytest.raises(ScratchError, match="0700"), Scratch(parent).directory():
            raise AssertionError


def test_only_what_processes_made_is_swept(tmp_path: Path) -> None:
    """DARKROOM_TEMP_DIR may name a directory that holds more than ours."""
    parent = tmp_path / "home"
    for name in ("documents", "0123456789abcdef"):
        (parent / name).mkdir(parents=True)
    parent.chmod(0o700)
    assert Scratch(parent).sweep() == 0
    assert {path.name for path in parent.iterdir()} == {"documents", "0123456789abcdef"}


def test_a_parent_that_is_not_ours_alone_is_not_swept(tmp_path: Path) -> None:
    """A link to a home, or /tmp itself: what lies there may be anybody's."""
    made = Scratch(tmp_path / "scratch")
    with made.directory() as directory:
        name = directory.parent.name
    made.close()
    shared, elsewhere = tmp_path / "shared", tmp_path / "link"
    (shared / name).mkdir(parents=True)
    elsewhere.symlink_to(shared)
    shared.chmod(0o700)
    assert Scratch(elsewhere).sweep() == 0
    shared.chmod(0o777)
    assert Scratch(shared).sweep() == 0
    assert (shared / name).exists()


def test_a_directory_is_never_swept_while_it_is_made(tmp_path: Path) -> None:
    """One process makes directories as another sweeps as fast as it can."""
    parent, stop = tmp_path / "scratch", threading.Event()
    parent.mkdir(mode=0o700)
    sweeper = Scratch(parent)

    def sweep() -> None:
        while not stop.is_set():
            sweeper.sweep()

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for _ in range(300):
            scratch = Scratch(parent)
            with scratch.directory() as directory:
                (directory / "file").write_bytes(b"x")
                assert os.listdir(directory) == ["file"]
            scratch.close()
    finally:
        stop.set()
        thread.join()

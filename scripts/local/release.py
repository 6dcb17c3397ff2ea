"""The release before this tree: the commit in supabase/released, whose code and schema deployments have."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from scripts.local.home import REPOSITORY
from scripts.local.process import StackError

RELEASED = REPOSITORY / "supabase" / "released"
_GIT = ("git", "-C", str(REPOSITORY))


def released_commit() -> str:
    """The commit of the release before."""
    return RELEASED.read_text("utf-8").strip()


def has_release() -> bool:
    """Whether this clone has the release before in its history."""
    command = [*_GIT, "cat-file", "-e", f"{released_commit()}^{{commit}}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def released_text(path: Path) -> str:
    """The text of a file of this repository in the release before; empty when it was not there. Raises StackError when
    the history lacks that release."""
    if not has_release():
        raise StackError(
            f"this clone does not have {released_commit()}, the release before: fetch the whole history"
        )
    shown = subprocess.run([*_GIT, "show", f"{released_commit()}:{path}"], check=False, capture_output=True)
    return shown.stdout.decode() if shown.returncode == 0 else ""


def unpack_release(directory: Path) -> Path:
    """The whole tree of the release before, in `directory`."""
    archive = directory / "release.tar"
    subprocess.run([*_GIT, "archive", f"--output={archive}", released_commit()], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    archive.unlink()
    return directory

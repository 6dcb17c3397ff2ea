"""The release before this tree: the commit in supabase/released, whose code and schema deployments have. The file is
empty until there is one."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from scripts.local.home import REPOSITORY

RELEASED = REPOSITORY / "supabase" / "released"
_GIT = ("git", "-C", str(REPOSITORY))


def released_commit() -> str:
    """The commit of the release before; empty when this is the first one."""
    return RELEASED.read_text("utf-8").strip()


def missing_release() -> str | None:
    """Why the release before cannot be looked at; None when it can."""
    commit = released_commit()
    if not commit:
        return "there is no release before this one"
    command = [*_GIT, "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return f"this clone lacks {commit}, the release before: fetch the whole history"
    return None


def unpack_release(directory: Path) -> Path:
    """The whole tree of the release before, in `directory`."""
    archive = directory / "release.tar"
    subprocess.run([*_GIT, "archive", f"--output={archive}", released_commit()], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    archive.unlink()
    return directory

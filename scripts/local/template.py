"""The files of a database that was migrated and holds nothing yet. A new home begins with a copy of them, instead of
making and migrating a database of its own.

The first home of a checkout leaves them in node_modules/.cache/database, under the digest of all that goes into them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from scripts.local.home import REPOSITORY

_KEPT = REPOSITORY / "node_modules" / ".cache" / "database"
_INGREDIENTS = (
    "requirements.lock",
    "package-lock.json",
    "scripts/local/*.py",
    "scripts/local/*.sql",
    "supabase/migrations/*.sql",
)


def template() -> Path:
    """The folder of this very checkout's files, whether it is there or not. Each user has one: the files belong to whom
    Postgres runs as."""
    digest = hashlib.sha256(f"{os.geteuid()}\n".encode())
    for pattern in _INGREDIENTS:
        for path in sorted(REPOSITORY.glob(pattern)):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(REPOSITORY)} {len(content)}\n".encode() + content)
    return _KEPT / digest.hexdigest()[:32]


def copy_database(source: Path, target: Path) -> bool:
    """Copy data/ and the stamps of scripts that were applied; False when that is not possible. No Postgres may run on
    `source`."""
    data = target / "data.new"
    shutil.rmtree(data, ignore_errors=True)
    # Not shutil: the owner is to be kept.
    if subprocess.run(["cp", "-a", source / "data", data], check=False, capture_output=True).returncode != 0:
        return False
    for stamp in source.glob("*.stamp"):
        shutil.copy(stamp, target)
    data.rename(target / "data")
    return True


def keep_database(source: Path, kept: Path) -> None:
    """Make a copy of `source` the template `kept`. When that is not possible, for want of disk or because another home
    was faster, nothing happens."""
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        fresh.mkdir(mode=0o700, parents=True)
        if copy_database(source, fresh):
            # Postgres does not start with it: the passwords are to be changed first.
            (fresh / "data" / "pg_hba.conf").write_text("")
            fresh.rename(kept)
        for other in kept.parent.iterdir():
            if not other.name.startswith(kept.name):
                shutil.rmtree(other, ignore_errors=True)
    except OSError:
        return
    finally:
        shutil.rmtree(fresh, ignore_errors=True)

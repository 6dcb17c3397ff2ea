"""Postgres refuses to run as root: find an account for it, whatever directories lie in between.

As an ordinary user nothing is to do. As root, Postgres runs as `nobody`. When a parent directory shuts
that user out (`mktemp -d` and /root are 0700), it keeps one capability, to read and search directories,
and runs from a copy of the programs in a place it can reach: access(2), with which initdb looks for its
sibling, ignores capabilities.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from scripts.local.process import StackError

_libc = ctypes.CDLL(None, use_errno=True)
_PR_CAPBSET_READ = 23
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Account:
    """Who runs Postgres: `become` drops to that user in the child (None: stay); `directory`: the programs."""

    directory: Path
    become: Callable[[], None] | None
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make `path` belong to this account."""
        if self.become is not None:
            os.chown(path, self.uid, self.gid)


def unprivileged(installation: Path, state: Path) -> Account:
    """The account for the programs in `installation` working in `state`; StackError when there is none."""
    if os.geteuid() != 0:
        return Account(installation, None, os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError(
            "running as root needs a user `nobody` for Postgres; run as an ordinary user"
        ) from None
    uid, gid = nobody.pw_uid, nobody.pw_gid
    if _open_to_all(state) and _open_to_all(installation):
        return Account(installation, lambda: _drop(uid, gid, None), uid, gid)
    capability = _usable_capability()
    if capability is None:
        raise StackError(f"{state} or {installation} is closed to the user `nobody`: chmod o+x its parents")
    return Account(_reachable_copy(installation), lambda: _drop(uid, gid, capability), uid, gid)


def _open_to_all(path: Path) -> bool:
    """Whether any user may pass through `path` and all its parents."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def _usable_capability() -> int | None:
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            return capability
    return None


def _drop(uid: int, gid: int, capability: int | None) -> None:
    """Become `uid`, keeping at most one capability over exec. Runs between fork and exec."""
    if capability is not None:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability is not None:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        bit = 1 << capability
        data = (ctypes.c_uint32 * 6)(
            bit, bit, bit, 0, 0, 0
        )  # effective, permitted, inheritable; twice 32 bits
        failed = _libc.capset(header, data) or _libc.prctl(
            _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0
        )
        if failed:
            os._exit(126)


def _reachable_copy(installation: Path) -> Path:
    """A copy of the programs, with the libraries the wheel keeps beside its package, that any user can reach.

    Made once; only root can write to it.
    """
    package = installation.parent
    target = Path("/var/tmp") / f"darkroom-postgres-{version(package.name)}"  # noqa: S108
    if not target.exists():
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=target.name))
        shutil.copytree(installation, fresh / package.name / installation.name, symlinks=True)
        libraries = package.with_suffix(".libs")
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:  # another stack was faster
            shutil.rmtree(fresh)
    owner = target.lstat()
    if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != 0 or owner.st_mode & 0o022:
        raise StackError(f"{target} is not ours; remove it")
    return target / package.name / installation.name

"""Secrets out of the worker's environment, before anything else.

What a process was started with stays readable in /proc/<pid>/environ for as long as it lives, whatever it does to its
variables. So a worker starts itself again with an environment of public names alone, and hands the rest to itself in
an anonymous file that it reads once.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping
from typing import Final

from workers.sandbox import kernel

HANDOVER: Final = "DARKROOM_ENVIRONMENT_FD"
_PUBLIC: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", HANDOVER),
    }
)
_PUBLIC_PREFIXES: Final = ("LC_", "PYTHON", "COVERAGE_")


def is_public(name: str) -> bool:
    """Whether a variable may stand where other processes of this user can read it."""
    return name in _PUBLIC or name.startswith(_PUBLIC_PREFIXES)


@functools.cache  # the second call of a process finds it done
def hide() -> None:
    """Start this process again, under the same id and arguments, with public variables only; after that, have the
    others in `os.environ` and in no other place. Conceals the process from others of its user. Linux only."""
    if not kernel.LINUX:
        return
    kernel.conceal()
    descriptor = os.environ.pop(HANDOVER, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "rb") as file:
            file.seek(0)
            os.environ.update(json.load(file))
        return
    private = {name: value for name, value in os.environ.items() if not is_public(name)}
    if private:
        _start_again(private)


def forget() -> None:
    """Drop what is not public from `os.environ`, once the settings are read: no process that is started inherits it."""
    for name in tuple(os.environ):
        if not is_public(name):
            del os.environ[name]


def hand_over(private: Mapping[str, str]) -> int:
    """The descriptor of an anonymous file with these variables, for HANDOVER of a process that inherits it."""
    descriptor = os.memfd_create("settings", 0)
    os.write(descriptor, json.dumps(dict(private)).encode())
    return descriptor


def _start_again(private: Mapping[str, str]) -> None:
    public = {name: value for name, value in os.environ.items() if is_public(name)}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606
        sys.executable, [sys.executable, *sys.orig_argv[1:]], {**public, HANDOVER: str(hand_over(private))}
    )

"""The inside of a pixel child: limits put on once, then one call per task. Loads no decoder by itself."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import multiprocessing
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.imaging.errors import PixelError
from workers.imaging.types import PixelResult, PixelTask

_MB: Final = 1024 * 1024
_MAX_FILE_BYTES: Final = 512 * _MB
_M_ARENA_MAX: Final = -8

Entry = Callable[[PixelTask], PixelResult]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: a result or an error, and whether the child kept so much memory that it should
    be replaced."""

    value: PixelResult | PixelError
    worn: bool


@dataclass(slots=True)
class _State:
    entry: Entry | None = None
    baseline: int = 0
    allowance: int = 0


_state = _State()


def prepare(entry: str, memory_mb: int) -> None:
    """Make this process a pixel child. entry: "module:function"; memory_mb: address space it may take above
    what it has once everything is imported."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # die at once, also inside a decoder
    _die_with_parent()
    with suppress(AttributeError, OSError):
        # Each arena reserves 64 MB of address space, and the limit below counts what is reserved.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    importlib.import_module("workers.imaging.preload")
    module, _, name = entry.partition(":")
    _state.entry = getattr(importlib.import_module(module), name)
    _state.allowance = memory_mb * _MB
    _state.baseline = _address_space()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    if _state.baseline:
        _limit(resource.RLIMIT_AS, _state.baseline + _state.allowance)
    with suppress(OSError):
        # When the machine runs out of memory, a child goes before the worker.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # From here on errors are values. What decoders print is up to the file: it has no place in our logs.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def ready() -> int:
    """The child's process id, once it is prepared."""
    return os.getpid()


def call(task: PixelTask) -> Outcome:
    """Run the entry on a task. Never raises: errors are values, because pickled tracebacks are not."""
    value: PixelResult | PixelError
    try:
        if _state.entry is None:
            raise RuntimeError("the child was not prepared")
        value = _state.entry(task)
    except PixelError as error:
        value = PixelError(error.code, error.detail, error.retryable)
    except MemoryError:
        value = PixelError("pixel_memory", "The picture needs more memory than a job may take.")
    except Exception as error:
        value = PixelError("internal", f"Processing failed: {type(error).__name__}: {error}"[:500])
    return Outcome(value, worn=_is_worn())


def _is_worn() -> bool:
    """Whether a quarter of the allowance stays taken after everything was given back."""
    gc.collect(0)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return _address_space() - _state.baseline > _state.allowance // 4


def _address_space() -> int:
    """Bytes of virtual memory of this process; 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 0
    return pages * resource.getpagesize()


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (ceiling, ceiling))


def _die_with_parent() -> None:
    """Have the kernel kill this process when the worker ends, however it ends and whatever runs here.

    PR_SET_PDEATHSIG would watch the fork server, which outlives the worker for as long as a child does. The
    worker itself holds the other end of the sentinel pipe: the kernel's signal for "that pipe was closed" is
    set to SIGKILL, so not even a decoder that never returns to Python leaves an orphan.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    pipe = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # it ended before we listened
        os._exit(1)

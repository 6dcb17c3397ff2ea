"""The inside of a pixel child: limits, one task, the end. Every task has a child of its own, so nothing that a picture
does to a child is there when the next picture comes, and no picture is there for it to see."""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import resource
import struct
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from pydantic import TypeAdapter

from workers.imaging import allocator
from workers.pixel_errors import PixelError
from workers.sandbox import landlock, seccomp

MB: Final = 1024 * 1024
MAX_FILE_BYTES: Final = 512 * MB
MAX_DESCRIPTORS: Final = 256
MAX_THREADS: Final = 512
"""Of all children together: it is counted by user namespace."""
LENGTH: Final = struct.Struct("!I")
READY: Final = b"ready"
_CHANNEL: Final = 3


@dataclass(frozen=True, slots=True)
class Handler:
    """An entry, with how its task and its result are written as JSON."""

    function: Callable[[Any], Any]
    task: TypeAdapter[Any]
    result: TypeAdapter[Any]


class Family:
    """What all children of one fork server have in common. readable: what they may read beside their task's files;
    isolated: whether they live in a user namespace of their own."""

    def __init__(self, readable: tuple[Path, ...], isolated: bool) -> None:
        self._readable = readable
        self._isolated = isolated

    @functools.cache  # noqa: B019 - one family per process
    def handler(self, entry: str) -> Handler:
        """entry: "module:function", of one argument that has a `workdir` and may have a `source`. Raises ImportError,
        AttributeError, ..."""
        module, _, name = entry.partition(":")
        function = getattr(importlib.import_module(module), name)
        hints = typing.get_type_hints(function)
        result = TypeAdapter(hints.pop("return"))
        handler = Handler(function, TypeAdapter(next(iter(hints.values()))), result)
        gc.collect()
        gc.freeze()  # shared pages stay shared
        return handler

    def live(self, handler: Handler, channel: int, memory_mb: int) -> NoReturn:
        """Do one task that comes through the channel, and end."""
        _let_go_of_everything_but(channel)
        allocator.use_again()
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
        _limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
        if self._isolated:
            _limit(resource.RLIMIT_NPROC, MAX_THREADS)
        if (taken := _address_space()) > 0:
            _limit(resource.RLIMIT_AS, taken + memory_mb * MB)
        _send(READY)
        length = LENGTH.unpack(_receive(LENGTH.size))[0]
        task = handler.task.validate_json(_receive(length))
        self._confine(task)
        _send(_answer(handler, task))
        os._exit(0)

    def _confine(self, task: Any) -> None:
        """The last and narrowest limits: from here on this process meets a stranger's bytes."""
        source = getattr(task, "source", None)
        landlock.restrict((*self._readable, *([source] if source is not None else [])), task.workdir)
        seccomp.restrict()


def _answer(handler: Handler, task: Any) -> bytes:
    """The result as JSON. Never raises: errors are values."""
    try:
        return b'{"value":' + handler.result.dump_json(handler.function(task)) + b"}"
    except PixelError as error:
        failed, cause = error, ""
    except MemoryError:
        failed = PixelError("pixel_memory", "The picture needs more memory than a job may take.")
        cause = ""
    except Exception as error:
        failed = PixelError("internal", "Processing this picture failed by a fault of ours.")
        cause = f"{type(error).__name__}: {error}"[:500]
    told = {"code": failed.code, "detail": failed.detail, "retryable": failed.retryable, "cause": cause}
    return json.dumps({"error": told}).encode()


def _let_go_of_everything_but(channel: int) -> None:
    """Close what the fork server has open. What decoders print is up to the file: it has no place in our logs."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    if channel != _CHANNEL:
        os.dup2(channel, _CHANNEL, inheritable=False)
    os.closerange(_CHANNEL + 1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1024))


def _send(message: bytes) -> None:
    data = memoryview(LENGTH.pack(len(message)) + message)
    while data:
        data = data[os.write(_CHANNEL, data) :]


def _receive(length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        part = os.read(_CHANNEL, length - len(received))
        if not part:
            os._exit(0)  # the worker needs this child no more
        received += part
    return bytes(received)


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

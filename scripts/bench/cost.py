"""What a piece of work costs in a process of its own: processor time and peak memory."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """seconds: of processor time, all threads. grown: MB of resident memory at the peak above what the process had
    when it was ready; whole: MB at the peak in all."""

    seconds: float
    grown: float
    whole: float


def in_child(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> Cost:
    """The cost of what prepare(*arguments) returns, called once in a fresh process. What prepare does (imports, models,
    a first small run) is not counted. prepare: a function of a module, so that the process can find it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_weigh, args=(prepare, arguments, sender))
    child.start()
    sender.close()
    cost: Cost = receiver.recv()
    child.join()
    return cost


def _weigh(
    prepare: Callable[..., Callable[[], object]], arguments: tuple[Any, ...], sender: Connection
) -> None:
    run = prepare(*arguments)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is resident now
    before = _high_water()
    started = time.process_time()
    run()
    seconds = time.process_time() - started
    peak = _high_water()
    sender.send(Cost(seconds, peak - before, peak))


def _high_water() -> float:
    """Peak resident memory of this process, MB. Not ru_maxrss: that one survives exec and tells the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

"""A fork server context whose children do not run the program's main module again.

multiprocessing imports the parent's `__main__` into every child, in case something defined there is to be
unpickled. Nothing of a pixel child is, and the worker's main module is a command line with settings: a second of
start-up, twice the memory, and no business next to hostile bytes.
"""

from __future__ import annotations

import sys
import threading
from multiprocessing import context
from types import ModuleType

_hiding = threading.Lock()


class _Process(context.ForkServerProcess):
    def start(self) -> None:
        """Start while `__main__` is an empty module: an interpreter without a main file imports none."""
        with _hiding:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class LeanForkServerContext(context.ForkServerContext):
    """`multiprocessing.get_context("forkserver")`, children lean."""

    Process = _Process

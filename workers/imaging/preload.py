"""What every pixel child needs, imported once in the fork server so that a child starts in milliseconds.

The fork server must stay single-threaded, so the numeric libraries are told to be before they load. A child
is one slot of the worker; more threads in it would only fight its siblings.
"""

from __future__ import annotations

import importlib
import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

for _module in ("decode", "encode", "thumbnail", "verify"):
    importlib.import_module(f"workers.imaging.{_module}")

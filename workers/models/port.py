"""The port that every model stands behind."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Model(Protocol):
    """Opened weights. One call at a time; the same array gives the same answer on the same kind of processor."""

    def run(self, array: Array) -> Array:
        """The model's first output for its one input. Raises MemoryError when the child has too little for it."""
        ...

    @property
    def side(self) -> int | None:
        """Pixels a side of the square that it takes; None: any size."""
        ...

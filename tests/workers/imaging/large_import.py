"""An entry for pixel children whose import takes much memory for a moment, as opening a model does."""

from __future__ import annotations

from tests.workers.imaging.entries import LARGE_IMPORT, misbehave

__all__ = ["misbehave"]

_blocks = [b"\1" * 100_000 for _ in range(LARGE_IMPORT // 100_000)]
_kept = b"\1" * 100_000  # above all the others, so that malloc cannot give them back by shrinking the heap
del _blocks

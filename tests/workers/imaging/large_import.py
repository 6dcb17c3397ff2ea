"""An entry for pixel children whose import takes much memory for a moment, as opening a model does."""

from __future__ import annotations

from tests.workers.imaging.entries import LARGE_IMPORT, misbehave

__all__ = ["misbehave"]

_BLOCK = 200_000

bytes(10 * _BLOCK)  # once it is freed, glibc takes smaller blocks than this from the heap, unless it is told
_blocks = [b"\1" * _BLOCK for _ in range(LARGE_IMPORT // _BLOCK)]
_kept = b"\1" * _BLOCK  # above all the others, so that the heap cannot shrink
del _blocks

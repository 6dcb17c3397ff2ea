"""Variants: what changes pixels beside the op.

`full`, or what differs from it joined by dots: `side-N` (worked on at no more than N pixels a side), `marked` (with
the watermark of a preview), `weights-X` (by an operator's own weights, X of their digest).
"""

import re
from typing import NamedTuple

FULL = "full"
_FORM = re.compile(r"(?:side-([0-9]{1,6}))?(\.?marked)?(?:\.?weights-([0-9a-f]{12}))?")


class Variant(NamedTuple):
    """What a worker does beside the op. `side`: longest side in pixels to work at, None: as large as it is; `weights`:
    12 hex digits of the operator's own weights, None: those of the op's version."""

    side: int | None = None
    marked: bool = False
    weights: str | None = None

    def __str__(self) -> str:
        parts = [
            f"side-{self.side}" if self.side is not None else "",
            "marked" if self.marked else "",
            f"weights-{self.weights}" if self.weights is not None else "",
        ]
        return ".".join(filter(None, parts)) or FULL


def variant_for(  # noqa: PLR0913
    width: int,
    height: int,
    working_side: int | None,
    *,
    drawing: bool = False,
    marked: bool = False,
    weights: str | None = None,
) -> str:
    """The variant of a picture for a user who works at `working_side` pixels (None: at full resolution).

    One that is no larger is the same picture either way, and shares the cache of `full`. A drawing is always held to
    the side: what is announced need only have its shape, and says nothing about its size.
    """
    sized = working_side is not None and (drawing or max(width, height) > working_side)
    return str(Variant(working_side if sized else None, marked, weights))


def parse_variant(variant: str) -> Variant:
    """Raises ValueError for what variant_for never gave."""
    if variant == FULL:
        return Variant()
    match = _FORM.fullmatch(variant)
    if match is not None:
        found = Variant(int(match[1]) if match[1] else None, bool(match[2]), match[3])
        if str(found) == variant:
            return found
    raise ValueError(f"unknown variant {variant!r}")

"""Variants: what changes pixels beside the op. `full`; `side-N`, worked on at no more than N pixels a side; `marked`,
with the watermark of a preview; or `side-N.marked`."""

import re
from typing import NamedTuple

FULL = "full"
_FORM = re.compile(r"side-([0-9]{1,6})(\.marked)?|(marked)")


class Variant(NamedTuple):
    """What a worker does beside the op. `side`: longest side in pixels to work at, None: as large as it is."""

    side: int | None
    marked: bool


def variant_for(width: int, height: int, working_side: int | None, *, marked: bool = False) -> str:
    """The variant of a picture for a user who works at `working_side` pixels (None: at full resolution).

    One that is no larger is the same picture either way, and shares the cache of `full`.
    """
    sized = working_side is not None and max(width, height) > working_side
    parts = ([f"side-{working_side}"] if sized else []) + (["marked"] if marked else [])
    return ".".join(parts) or FULL


def parse_variant(variant: str) -> Variant:
    """Raises ValueError for what variant_for never gave."""
    if variant == FULL:
        return Variant(None, marked=False)
    match = _FORM.fullmatch(variant)
    if match is None:
        raise ValueError(f"unknown variant {variant!r}")
    return Variant(int(match[1]) if match[1] else None, marked=bool(match[2] or match[3]))

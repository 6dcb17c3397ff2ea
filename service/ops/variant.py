"""Variants: what changes pixels beside the op. `full`, or `side-N`: worked on at no more than N pixels a side."""

import re

FULL = "full"
_SIDE = re.compile(r"side-([0-9]{1,6})")


def variant_for(width: int, height: int, working_side: int | None) -> str:
    """The variant of a picture for a user who works at `working_side` pixels (None: at full resolution).

    One that is no larger is the same picture either way, and shares the cache of `full`.
    """
    if working_side is None or max(width, height) <= working_side:
        return FULL
    return f"side-{working_side}"


def working_side(variant: str) -> int | None:
    """Longest side in pixels at which a variant is worked on; None: as large as it is. Raises ValueError."""
    if variant == FULL:
        return None
    match = _SIDE.fullmatch(variant)
    if match is None:
        raise ValueError(f"unknown variant {variant!r}")
    return int(match[1])

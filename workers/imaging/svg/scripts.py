"""Text of several scripts and directions, marked so that resvg sets it as Chromium does.

resvg shapes every stretch of one embedding level (Unicode Standard Annex 9) by the script of its first character, in a
line that runs from left to right. So a stretch of Arabic, Hebrew, Devanagari or Thai is put on a level of its own by
embedding controls, which show nothing, and a line from right to left into an embedding of that direction.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET

from workers.pixel_errors import PixelError

_LTR, _RTL, _POP = "\u202a", "\u202b", "\u202c"
CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
FIRST: Final = _LTR + _POP
"""Characters without width, for a line to begin with."""
_HEBREW: Final = _RTL * 3
_BLOCKS: Final = {
    "\u0600-\u06ff\u0750-\u077f\u0870-\u08ff\ufb50-\ufdff\ufe70-\ufefc": _RTL * 2,
    "\u0590-\u05ff\ufb1d-\ufb4f": _HEBREW,
    "\u0900-\u097f\ua8e0-\ua8ff\u1cd0-\u1cff": _LTR * 2,
    "\u0e01-\u0e3e\u0e40-\u0e7f": _LTR * 3,
}
"""Embedding controls by the blocks of a script. Scripts of one direction differ in level: a level is shaped as one."""
_STRETCHES: Final = {
    re.compile(
        # From a letter on, over marks and joiners; over spaces, digits and signs where a letter of the script follows.
        rf"(?=[^\W\d_])(?!\u0640)[{block}](?:[{block}\u0300-\u036f\u200c\u200d]|[\W\d_]+(?=[{block}]))*"
    ): controls
    for block, controls in _BLOCKS.items()
}
_LETTER: Final = re.compile(r"[^\W\d_]")
_SWAPPED: Final = {"start": "end", "end": "start"}


def is_shaped(text: str) -> bool:
    """Whether a text has letters of a script in which several glyphs make one letter or one glyph several."""
    return any(stretch.search(text) for stretch, controls in _STRETCHES.items() if controls != _HEBREW)


def refused(what: str) -> PixelError:
    return PixelError(
        "unsupported_type",
        f"The drawing has text of several scripts or directions {what}, which is not drawn here: convert the text to "
        "paths, or send the drawing as a PNG.",
    )


def mark(text: ET.Element, *, direction: str, anchor: str, spaced: bool) -> None:
    """Put embedding controls into a text element, in place, and make its anchor that of a line from left to right.

    direction, anchor: what it has or inherits. spaced: whether letter-spacing is inherited. Raises PixelError
    unsupported_type where characters have places of their own, which controls would take.
    """
    rightwards = direction != "rtl"
    if not rightwards:
        text.set("text-anchor", _SWAPPED.get(anchor, anchor))
        for element in list(text.iter())[1:]:
            if given := element.get("text-anchor"):
                element.set("text-anchor", _SWAPPED.get(given, given))
    whole = "".join(text.itertext())
    if rightwards and not any(stretch.search(whole) for stretch in _STRETCHES):
        return
    if spaced or any(_places(element) for element in text.iter()):
        if rightwards and _is_of_one_script(whole):
            return
        raise refused("whose letters are placed or spaced one by one")
    _embed(text, rightwards, outermost=True)


def _places(element: ET.Element) -> bool:
    lists = (element.get(name, "") for name in ("x", "y", "dx", "dy", "rotate"))
    return (
        element.get("textLength") is not None
        or element.get("letter-spacing", "0") not in {"0", "normal", "inherit"}
        or any(len(re.split(r"[\s,]+", value.strip())) > 1 for value in lists)
    )


def _is_of_one_script(text: str) -> bool:
    """Whether all letters are of one of the scripts above, and the first character is a letter."""
    return any(
        (found := stretch.match(text.strip())) and not _LETTER.search(text.strip()[found.end() :])
        for stretch in _STRETCHES
    )


def _embed(element: ET.Element, rightwards: bool, *, outermost: bool) -> None:
    children = list(element)
    element.text = _embedded(element.text or "", rightwards, first=outermost, last=outermost and not children)
    for child in children:
        _embed(child, rightwards, outermost=False)
        last = outermost and child is children[-1]
        child.tail = _embedded(child.tail or "", rightwards, first=False, last=last)


def _embedded(text: str, rightwards: bool, *, first: bool, last: bool) -> str:
    """first, last: in its line, where spaces stay outside for resvg to drop."""
    if not text.strip():
        return text
    before = text[: len(text) - len(text.lstrip())] if first else ""
    after = text[len(text.rstrip()) :] if last else ""
    core = text[len(before) : len(text) - len(after)]
    for stretch, controls in _STRETCHES.items():
        core = stretch.sub(rf"{controls}\g<0>{_POP * len(controls)}", core)
    return before + (core if rightwards else _RTL + core + _POP) + after

"""The fonts that drawings are drawn with: the same on every machine, so that equal bytes give equal pixels.

Arimo, Tinos and Cousine have the widths of Arial, Times New Roman and Courier New, with Latin, Greek, Cyrillic and
Hebrew letters, and the Arabic, Devanagari and Thai letters of Noto fonts; other Noto fonts have the other scripts.
scripts/fonts puts them into the installation. None is taken from the machine.
"""

from __future__ import annotations

import struct
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from workers.imaging.svg import scripts
from workers.imaging.svg.reading import SVG
from workers.imaging.svg.values import Tokens, commas, words
from workers.pixel_errors import PixelError

FOLDER: Final = Path(sys.prefix) / "share" / "darkroom" / "fonts"
SERIF: Final = "Tinos"
SANS: Final = "Arimo"
MONOSPACE: Final = "Cousine"
_FOUR: Final = ("400Regular", "400Regular_Italic", "700Bold", "700Bold_Italic")
_FILES: Final[dict[str, tuple[str, ...]]] = {
    **{name: tuple(f"{name}-{style}.ttf" for style in _FOUR) for name in (SANS, SERIF, MONOSPACE)},
    "Noto Sans Symbols 2": ("NotoSansSymbols2-400Regular.ttf",),
    "Noto Sans Symbols": ("NotoSansSymbols-400Regular.ttf",),
    "Noto Sans CJK JP": ("NotoSansCJK-400Regular.otf",),
    "Noto Sans Math": ("NotoSansMath-400Regular.ttf",),
}
"""Files by family, in the order in which a character is looked for."""
_BESIDE: Final = ("Noto Sans Math", "Noto Sans CJK JP")
"""Fonts that resvg can take characters from in a line of Arabic, Devanagari or Thai: among symbols it loses its way."""
_ALIASES: Final[dict[str, str]] = {
    SANS: (
        "sans-serif, system-ui, ui-sans-serif, -apple-system, blinkmacsystemfont, arial, arialmt, arial-boldmt, sans, "
        "helvetica, helvetica neue, helveticaneue, liberation sans, nimbus sans, verdana, tahoma, geneva, "
        "trebuchet ms, segoe ui, calibri, roboto, open sans, opensans, lato, montserrat, inter, poppins, noto sans, "
        "noto sans arabic, noto sans devanagari, noto sans thai, "
        "dejavu sans, bitstream vera sans, ubuntu, source sans pro, lucida grande, lucida sans unicode, myriad pro, "
        "myriadpro-regular"
    ),
    SERIF: (
        "serif, ui-serif, times, times new roman, timesnewromanpsmt, timesnewroman, liberation serif, nimbus roman, "
        "georgia, garamond, palatino, palatino linotype, cambria, baskerville, noto serif, dejavu serif, "
        "book antiqua, cursive, fantasy, math"
    ),
    MONOSPACE: (
        "monospace, ui-monospace, courier, courier new, couriernewpsmt, liberation mono, nimbus mono ps, consolas, "
        "menlo, monaco, lucida console, sf mono, sfmono-regular, dejavu sans mono, roboto mono, source code pro, "
        "fira code, fira mono, jetbrains mono, noto sans mono, ubuntu mono, andale mono"
    ),
}
"""Names that drawings ask for, by the family that stands in: the class matters more than the face."""
_FAMILIES: Final[dict[str, str]] = {
    alias.strip(): family for family, names in _ALIASES.items() for alias in names.split(",")
} | {name.lower(): name for name in _FILES}


def family(tokens: Tokens) -> str | None:
    """The first family of a font-family list that is here or has a stand-in; None where the list is broken, the
    serif font where none is, as in a browser."""
    for part in commas(tokens):
        found = words(part)
        if not found or any(token.type not in {"ident", "string"} for token in found):
            return None
        name = " ".join(str(token.value) for token in found).lower()
        if name in _FAMILIES:
            return _FAMILIES[name]
    return SERIF


def files() -> list[Path]:
    """Every font file. Raises PixelError op_unavailable where the fonts are not installed."""
    found = [FOLDER / file for names in _FILES.values() for file in names]
    if not all(path.is_file() for path in found):
        raise PixelError(
            "op_unavailable",
            "Text in drawings cannot be drawn here: the fonts of scripts/fonts are not installed.",
        )
    return found


def load() -> list[Path]:
    """Every font file that is installed, after reading which characters they have: done before a fork, children share
    it."""
    found = [name for name in _FILES if (FOLDER / _FILES[name][0]).is_file()]
    for name in found:
        characters(name)
    return [FOLDER / file for name in found for file in _FILES[name]]


@lru_cache
def characters(name: str) -> frozenset[int]:
    """The code points that a family has."""
    return _mapped((FOLDER / _FILES[name][0]).read_bytes())


def _mapped(font: bytes) -> frozenset[int]:
    """Code points of the cmap table of an OpenType font, formats 4 and 12 (OpenType 1.9, cmap)."""
    count = struct.unpack_from(">H", font, 4)[0]
    tables = {
        font[12 + 16 * n : 16 + 16 * n]: struct.unpack_from(">II", font, 20 + 16 * n)[0] for n in range(count)
    }
    start = tables[b"cmap"]
    found: set[int] = set()
    for n in range(struct.unpack_from(">H", font, start + 2)[0]):
        platform, _, offset = struct.unpack_from(">HHI", font, start + 4 + 8 * n)
        at = start + offset
        form = struct.unpack_from(">H", font, at)[0]
        if form == 12:
            for group in range(struct.unpack_from(">I", font, at + 12)[0]):
                first, last = struct.unpack_from(">II", font, at + 16 + 12 * group)
                found.update(range(first, last + 1))
        elif form == 4 and platform in {0, 3}:
            segments = struct.unpack_from(">H", font, at + 6)[0] // 2
            ends = struct.unpack_from(f">{segments}H", font, at + 14)
            starts = struct.unpack_from(f">{segments}H", font, at + 16 + 2 * segments)
            for first, last in zip(starts, ends, strict=True):
                found.update(range(first, min(last, 0xFFFE) + 1))
    return frozenset(found)


def assign(root: ET.Element) -> bool:
    """Put characters that the font of their text lacks into runs of a font that has them, in place, and scripts and
    directions on levels of their own. Returns whether there is text at all.

    Raises PixelError unsupported_type where no font has a character, or mixed scripts cannot be set.
    """
    return _assign(root, _STYLE, inside=False)


_STYLE: Final = {"font-family": SERIF, "direction": "ltr", "text-anchor": "start", "letter-spacing": "0"}


def _assign(element: ET.Element, inherited: dict[str, str], *, inside: bool, shaped: bool = False) -> bool:
    given = {key: value for key in _STYLE if (value := element.get(key, "inherit")) != "inherit"}
    style = inherited | given
    name = style["font-family"]
    if element.get("display") == "none":
        return False
    if element.tag == f"{SVG}text" and not inside:
        scripts.mark(
            element,
            direction=style["direction"],
            anchor=style["text-anchor"],
            spaced=style["letter-spacing"] not in {"0", "normal"},
        )
        shaped = _is_shaped(element, style["direction"])
    inside = inside or element.tag == f"{SVG}text"
    found = inside
    children = list(element)
    for child in children:
        found = _assign(child, style, inside=inside, shaped=shaped) or found
    if inside and element.tag != f"{SVG}tref":
        for child in reversed(children):
            tail, runs = _runs(child.tail or "", name, shaped)
            child.tail = tail
            at = list(element).index(child) + 1
            element[at:at] = runs
        element.text, runs = _runs(element.text or "", name, shaped)
        element[0:0] = runs
    return found


def _is_shaped(text: ET.Element, direction: str) -> bool:
    """Whether a text is scripts.is_shaped.

    Raises PixelError unsupported_type for characters that resvg cannot take from a second
    font in a line of these scripts: it shows boxes.
    """
    whole = "".join(text.itertext())
    if not scripts.is_shaped(whole):
        return False
    for character in whole:
        if (
            not _invisible(character)
            and character not in scripts.CONTROLS
            and ord(character) not in characters(SANS)
        ):
            if direction == "rtl":
                raise scripts.refused(f"with a letter of another font ({character})")
            if not any(ord(character) in characters(name) for name in _BESIDE):
                raise scripts.refused(f"with a symbol ({character})")
    return True


def _runs(text: str, name: str, shaped: bool) -> tuple[str, list[ET.Element]]:
    """A text as what comes before the first run in another font, and these runs with what follows each."""
    own = characters(name)
    if all(ord(character) in own or ord(character) < 128 for character in text):
        return text, []
    lead, runs, current = "", list[ET.Element](), name
    if scripts.is_shaped(text):
        # What the font of the first run makes of a line decides which glyphs belong to which letters.
        text = scripts.FIRST + text if text.lstrip() == text else text
    for character in text:
        family = _family_for(character, current, name, shaped)
        if family == name:
            if runs:
                runs[-1].tail = (runs[-1].tail or "") + character
            else:
                lead += character
        elif family == current and runs and not runs[-1].tail:
            runs[-1].text = (runs[-1].text or "") + character
        else:
            run = ET.Element(f"{SVG}tspan", {"font-family": family})
            run.text = character
            runs.append(run)
        current = family
    return lead, runs


def _family_for(character: str, current: str, name: str, shaped: bool) -> str:
    code = ord(character)
    if character in scripts.CONTROLS:
        return name
    if _invisible(character) or (unicodedata.combining(character) and code in characters(current)):
        return current
    if code in characters(name):
        return name
    others: tuple[str, ...] = (SANS, *_BESIDE) if shaped else tuple(_FILES)
    for other in (current, *others):
        if code in characters(other):
            return other
    raise PixelError(
        "unsupported_type",
        f"The drawing has text in letters that no font here has ({character}, U+{code:04X}): convert the text to "
        "paths, or send the drawing as a PNG.",
    )


_SILENT: Final = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff")


def _invisible(character: str) -> bool:
    return character.isspace() or character in _SILENT or unicodedata.category(character) == "Cc"

"""What is kept of an SVG file: nothing that runs, nothing that leads out of the document.

Two hands clean it. This module keeps what is in the SVG namespace and takes out whatever refers to something outside
the document. svg-hush, Cloudflare's sanitiser, then lets through only the elements and attributes on its allow list:
no script, event handler, foreignObject, processing instruction or doctype.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import py_svg_hush

from service.platform.media import CONTENT_TYPES
from workers.imaging.svg import embedded
from workers.imaging.svg.css import brings_font, check_nested, clean_declarations, clean_sheet, is_inside
from workers.imaging.svg.reading import HREFS, MAX_DEPTH, MAX_ELEMENTS, SVG, XML, corrupt, read
from workers.imaging.types import Limits
from workers.pixel_errors import PixelError

MAX_DRAWN: Final = 300_000
"""Elements once every reference is followed: `use` of `use` of `use` multiplies."""
_XML_KEPT: Final = frozenset({f"{XML}space", f"{XML}lang"})
_ANIMATIONS: Final = frozenset({"animate", "set", "animateColor", "animateMotion", "animateTransform"})
_DROPPED: Final = frozenset(
    {"script", "foreignObject", "iframe", "handler", "listener", "metadata", *_ANIMATIONS}
)
"""Animations, too: what they show later is neither drawn nor looked at here."""
_MARK: Final = "data-darkroom"
"""Attribute by which an element is found again in what svg-hush returns."""
_KEPT: Final = frozenset({*_XML_KEPT, "paint-order", "isolation", "edgeMode", "white-space", "media"})
"""Harmless attributes that svg-hush does not know. References inside the document are kept too: see _known()."""
_PICTURES: Final = frozenset({f"{SVG}image", f"{SVG}feImage"})
_REFERRING: Final = frozenset({f"{SVG}textPath", f"{SVG}feImage"})


def sanitise(source: Path, target: Path, limits: Limits) -> None:
    """Write the harmless part of an SVG file to `target`. Doing it again changes nothing.

    Raises PixelError corrupt_image (not well-formed, entities, too deep, too many elements, an embedded picture that
    is none), unsupported_type (what cannot be drawn), too_many_pixels (embedded pictures), too_large.
    """
    data = _Cleaner(limits, target.with_name("embedded")).clean(source.read_bytes())
    if len(data) > limits.max_bytes:
        raise PixelError("too_large", f"Written out, the drawing has more than {limits.max_bytes} bytes.")
    target.write_bytes(data)


@dataclass
class _Cleaner:
    """Cleans a drawing and the drawings in it, which count against the limits together."""

    limits: Limits
    scratch: Path
    pixels: int = field(default=0)
    pictures: int = field(default=0)
    elements: int = field(default=0)
    depth: int = field(default=0)

    def clean(self, data: bytes) -> bytes:
        root = read(data)
        self.elements += sum(1 for _ in root.iter())
        if self.elements > MAX_ELEMENTS:
            raise corrupt(f"it has more than {MAX_ELEMENTS} elements")
        check_drawn(root)
        _check_styles(root)
        _check_fonts(root)
        self._element(root)
        _only_known(root)
        return bytes(ET.tostring(root, "utf-8"))

    def _element(self, element: ET.Element) -> None:
        self._attributes(element)
        if element.tag == f"{SVG}style":
            element.text = clean_sheet("".join(element.itertext()))
            del element[:]
        gone, alternative = set[ET.Element](), False
        for child in reversed(element):
            if _is_kept(child):
                alternative = True
            else:
                gone.add(child)
                # What a switch has an alternative for is left to the alternative.
                if not (alternative and element.tag == f"{SVG}switch"):
                    _check_html(child)
        remove(element, gone)
        for child in element:
            self._element(child)

    def _attributes(self, element: ET.Element) -> None:
        for key, value in list(element.attrib.items()):
            if key in HREFS:
                target = value.strip() if value.strip().startswith("#") else None
                if target is None and element.tag in _PICTURES:
                    target = self._embedded(value)
                if target is None:  # browsers fetch nothing for a drawing that is shown as a picture
                    del element.attrib[key]
                else:
                    element.attrib[key] = target
            elif key == "style":
                element.attrib[key] = clean_declarations(value)
            elif key.startswith(_MARK) or not _is_harmless(key, value):
                del element.attrib[key]

    def _embedded(self, url: str) -> str | None:
        """A data: URL that holds a picture, under the label that its bytes have; None for any other URL.

        Raises PixelError: see sanitise().
        """
        found = embedded.split(url)
        kind = None if found is None else embedded.kind_of(*found)
        if found is None or kind is None:
            return None
        self.pictures += 1
        if self.pictures > embedded.MAX_PICTURES:
            raise corrupt(f"it has more than {embedded.MAX_PICTURES} pictures in it")
        _, data = found
        if kind == "SVG":
            return embedded.joined(kind, self._nested(data))
        self.pixels += embedded.pixels_of(kind, data, self.scratch, self.limits)
        if self.pixels > self.limits.max_pixels:
            raise PixelError("too_many_pixels", "The pictures inside the drawing have too many pixels.")
        return embedded.joined(kind, data)

    def _nested(self, data: bytes) -> bytes:
        if self.depth == embedded.MAX_NESTED:
            raise corrupt(f"drawings are nested in it more than {embedded.MAX_NESTED} deep")
        self.depth += 1
        cleaned = self.clean(data)
        self.depth -= 1
        return cleaned


def _is_kept(element: ET.Element) -> bool:
    name = element.tag.removeprefix(SVG)
    return element.tag.startswith(SVG) and name not in _DROPPED


def _is_harmless(key: str, value: str) -> bool:
    if key.lower().startswith("on") or (key.startswith("{") and key not in _XML_KEPT):
        return False
    plain = "".join(value.split()).lower()
    if plain.startswith(("javascript:", "vbscript:", "data:")):
        return False
    return not ("(" in value or "\\" in value) or is_inside(value)


def _check_styles(root: ET.Element) -> None:
    """Raises PixelError corrupt_image: see check_nested()."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key not in HREFS:
                check_nested(value)
        if element.tag == f"{SVG}style":
            check_nested("".join(element.itertext()))


def _check_fonts(root: ET.Element) -> None:
    """Refuse text in a font that the drawing brings along. Raises PixelError unsupported_type."""
    if next(root.iter(f"{SVG}text"), None) is not None and any(
        brings_font("".join(style.itertext())) for style in root.iter(f"{SVG}style")
    ):
        raise PixelError(
            "unsupported_type",
            "The drawing brings its own font, which is not used here: convert its text to paths, or send it as a PNG.",
        )


_SHOWN: Final = frozenset(
    {"img", "svg", "canvas", "video", "picture", "input", "button", "math", "hr", "object"}
)


def _check_html(foreign: ET.Element) -> None:
    """Refuse HTML that a browser would show; whatever else is left out may be. Raises PixelError unsupported_type."""
    if foreign.tag != f"{SVG}foreignObject" or foreign.get("requiredExtensions"):
        return
    if any(_shows(element) for element in foreign.iter()):
        raise PixelError(
            "unsupported_type",
            "The drawing holds HTML (foreignObject), which only browsers draw: export it with its text as SVG text "
            "or as paths, or send it as a PNG.",
        )


def _shows(element: ET.Element) -> bool:
    name = element.tag.rpartition("}")[2]
    text = name not in {"script", "style", "title"} and (element.text or "").strip()
    return (bool(text or (element.tail or "").strip()) and name != "foreignObject") or name in _SHOWN


def _only_known(root: ET.Element) -> None:
    """Take out, in place, every element and attribute that svg-hush takes out.

    Its verdict is read off its output and applied to our tree, since it also indents: white space inside text shows.
    """
    elements = list(root.iter())
    for number, element in enumerate(elements):
        element.set(_MARK, str(number))
    try:
        # svg-hush accepts no data: URL unless told which; those left by now hold checked pictures.
        filtered = py_svg_hush.filter_svg(ET.tostring(root, "utf-8"), {"image": _picture_types()})
    except ValueError as error:
        raise corrupt("its markup is damaged") from error
    known = {element.get(_MARK): element for element in read(bytes(filtered)).iter()}
    if root.get(_MARK) not in known:
        raise corrupt("its markup is damaged")
    for element in elements:
        remove(element, {child for child in element if child.get(_MARK) not in known})
    for element in elements:
        found = known.get(element.get(_MARK))
        if found is None:
            continue
        for key in list(element.attrib):
            if not _known(element, key, found):
                del element.attrib[key]
        if element.tag == f"{SVG}style":
            element.text = found.text


def _known(element: ET.Element, key: str, found: ET.Element) -> bool:
    """Whether svg-hush has kept an attribute (it writes xlink:href as href), or we know better."""
    if key == _MARK:
        return False
    if key in HREFS:
        inside = element.attrib[key].startswith("#") and element.tag in _REFERRING
        return inside or any(name in found.attrib for name in HREFS)
    return key in found.attrib or key in _KEPT


def _picture_types() -> list[str]:
    return [label.removeprefix("image/") for label in CONTENT_TYPES.values()]


def check_drawn(root: ET.Element) -> None:
    """Refuse a document whose references multiply. A reference in a circle counts once: resvg breaks it."""
    by_id = {found: element for element in root.iter() if (found := element.get("id"))}
    cost: dict[ET.Element, int] = {}

    def weigh(element: ET.Element, depth: int) -> int:
        if element in cost:
            return cost[element]
        if depth > MAX_DEPTH * 3:
            raise corrupt("its references form too long a chain")
        cost[element] = 0
        total = 1 + sum(weigh(child, depth + 1) for child in element)
        for name in references(element):
            if (referred := by_id.get(name)) is not None:
                total += weigh(referred, depth + 1)
        if total > MAX_DRAWN:
            raise corrupt(f"its references multiply to more than {MAX_DRAWN} elements")
        cost[element] = total
        return total

    weigh(root, 0)


def references(element: ET.Element) -> list[str]:
    """Ids that an element refers to, by href or as url(#id) in an attribute."""
    names = []
    for key, value in element.attrib.items():
        if key in HREFS and value.strip().startswith("#"):
            names.append(value.strip()[1:])
        elif "#" in value and key not in HREFS:
            names += [part.partition(")")[0].strip("\"' ") for part in value.split("#")[1:]]
    return names


def remove(parent: ET.Element, gone: Collection[ET.Element]) -> None:
    """Remove children, in one pass, and keep the text behind them."""
    if not gone:
        return
    kept, texts = list[ET.Element](), [[parent.text or ""]]
    for child in parent:
        if child in gone:
            texts[-1].append(child.tail or "")
        else:
            kept.append(child)
            texts.append([child.tail or ""])
    parent[:] = kept
    parent.text = "".join(texts[0])
    for child, behind in zip(kept, texts[1:], strict=True):
        child.tail = "".join(behind)

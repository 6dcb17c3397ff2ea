"""SVG: read under limits, sanitised, and only then kept or drawn.

Two hands clean it. This module parses with expat (no entity, no depth, no flood of elements gets further), keeps what
is in the SVG namespace, and takes out whatever refers to something outside the document. svg-hush, Cloudflare's
sanitiser, then lets through only the elements and attributes on its allow list: no script, event handler,
foreignObject, processing instruction or doctype.
"""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET
from xml.parsers import expat

import py_svg_hush

from service.media import SourceFormat
from workers.imaging.css import clean_declarations, clean_sheet, is_inside
from workers.imaging.errors import PixelError
from workers.imaging.opening import open_picture
from workers.imaging.sniff import sniff
from workers.imaging.types import Limits

SVG: Final = "{http://www.w3.org/2000/svg}"
XLINK: Final = "{http://www.w3.org/1999/xlink}"
MAX_DEPTH: Final = 100
MAX_ELEMENTS: Final = 100_000
MAX_DRAWN: Final = 300_000
"""Elements once every reference is followed: `use` of `use` of `use` multiplies."""
EMBEDDED: Final[dict[SourceFormat, str]] = {"PNG": "png", "JPEG": "jpeg", "GIF": "gif", "WEBP": "webp"}
_XML_KEPT: Final = {f"{{http://www.w3.org/XML/1998/namespace}}{name}" for name in ("space", "lang")}
_DROPPED: Final = frozenset({"script", "foreignObject", "iframe", "handler", "listener", "metadata"})
_ANIMATIONS: Final = frozenset({"animate", "set", "animateColor", "animateMotion", "animateTransform"})

ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", XLINK[1:-1])


def sanitise(source: Path, target: Path, limits: Limits) -> None:
    """Write the harmless part of an SVG file to `target`. Doing it again changes nothing.

    Raises PixelError corrupt_image (not well-formed, entities, too deep, too many elements, an embedded picture that
    is none), too_many_pixels (embedded pictures), too_large.
    """
    root = read(source.read_bytes())
    _check_drawn(root)
    _Cleaner(limits).clean(root)
    try:
        # svg-hush accepts no data: URL unless told which; those left by now hold checked pictures.
        data = py_svg_hush.filter_svg(ET.tostring(root, "utf-8"), {"image": [*EMBEDDED.values()]})
    except ValueError as error:
        raise _corrupt("its markup is damaged") from error
    if len(data) > limits.max_bytes:
        raise PixelError("too_large", f"Written out, the drawing has more than {limits.max_bytes} bytes.")
    target.write_bytes(data)


def read(data: bytes, *, root_only: bool = False) -> ET.Element:
    """The element tree of an SVG document; of its root alone, where only the size is asked for.

    Raises PixelError corrupt_image.
    """
    reader = _Reader(root_only)
    try:
        reader.parser.Parse(data, True)
    except _Enough:
        pass
    except expat.ExpatError as error:
        raise _corrupt(f"line {error.lineno}: {expat.ErrorString(error.code)}") from error
    except (LookupError, ValueError) as error:
        # Of encodings that expat does not know, Python is asked; most of its codecs are no superset of ASCII.
        raise _corrupt("its encoding is not one that is read here: save it as UTF-8") from error
    if reader.root is None or reader.root.tag != f"{SVG}svg":
        raise _corrupt("its root is not an svg element in the SVG namespace")
    return reader.root


class _Enough(Exception):
    """The root has been read."""


class _Reader:
    """Expat's events as a tree, under limits. Names come as {namespace}local; comments and instructions do not."""

    def __init__(self, root_only: bool) -> None:
        self.root: ET.Element | None = None
        self._root_only = root_only
        self._open: list[ET.Element] = []
        self._count = 0
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise _corrupt(f"it has more than {MAX_ELEMENTS} elements")
        if len(self._open) >= MAX_DEPTH:
            raise _corrupt(f"its elements are nested more than {MAX_DEPTH} deep")
        element = ET.Element(_name(name), {_name(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1].append(element)
        else:
            self.root = element
            if self._root_only:
                raise _Enough
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        parent = self._open[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + text
        else:
            parent.text = (parent.text or "") + text

    def _entity(self, *_declaration: object) -> None:
        raise _corrupt("it declares XML entities: save it again without them")


def _name(name: str) -> str:
    return "{" + name if "}" in name else name


def _check_drawn(root: ET.Element) -> None:
    """Refuse a document whose references multiply. A reference in a circle counts once: resvg breaks it."""
    by_id = {found: element for element in root.iter() if (found := element.get("id"))}
    cost: dict[ET.Element, int] = {}

    def weigh(element: ET.Element, depth: int) -> int:
        if element in cost:
            return cost[element]
        if depth > MAX_DEPTH * 3:
            raise _corrupt("its references form too long a chain")
        cost[element] = 0
        total = 1 + sum(weigh(child, depth + 1) for child in element)
        for name in _references(element):
            if (referred := by_id.get(name)) is not None:
                total += weigh(referred, depth + 1)
        if total > MAX_DRAWN:
            raise _corrupt(f"its references multiply to more than {MAX_DRAWN} elements")
        cost[element] = total
        return total

    weigh(root, 0)


def _references(element: ET.Element) -> list[str]:
    """Ids that an element refers to, by href or as url(#id) in an attribute."""
    names = []
    for key, value in element.attrib.items():
        if key in {"href", f"{XLINK}href"} and value.strip().startswith("#"):
            names.append(value.strip()[1:])
        elif "#" in value:
            names += [part.partition(")")[0].strip("\"' ") for part in value.split("#")[1:]]
    return names


@dataclass
class _Cleaner:
    """Takes out, in place, what is not SVG and what leads out of the document."""

    limits: Limits
    pixels: int = field(default=0)

    def clean(self, element: ET.Element) -> None:
        self._attributes(element)
        if element.tag == f"{SVG}style":
            element.text = clean_sheet("".join(element.itertext()))
            for child in list(element):
                element.remove(child)
        for child in list(element):
            if _is_kept(child):
                self.clean(child)
            else:
                _remove(element, child)

    def _attributes(self, element: ET.Element) -> None:
        for key, value in list(element.attrib.items()):
            if key in {"href", f"{XLINK}href"}:
                if not (value.strip().startswith("#") or self._embedded(value.strip())):
                    del element.attrib[key]
            elif key == "style":
                element.attrib[key] = clean_declarations(value)
            elif not self._is_harmless(key, value):
                del element.attrib[key]

    @staticmethod
    def _is_harmless(key: str, value: str) -> bool:
        if key.lower().startswith("on") or (key.startswith("{") and key not in _XML_KEPT):
            return False
        plain = "".join(value.split()).lower()
        if plain.startswith(("javascript:", "vbscript:", "data:")):
            return False
        return not ("(" in value or "\\" in value) or is_inside(value)

    def _embedded(self, url: str) -> bool:
        """Whether a data: URL holds a picture of a kind that is accepted; its pixels count. Raises PixelError."""
        head, _, body = url.partition(",")
        scheme, _, media = head.partition(":")
        kind = media.lower().removesuffix(";base64")
        if scheme.lower() != "data" or not head.endswith(";base64") or not kind.startswith("image/"):
            return False
        try:
            data = base64.b64decode("".join(body.split()), validate=True)
            found = sniff(data)
        except (binascii.Error, PixelError):
            return False
        if f"image/{EMBEDDED.get(found)}" != kind:
            return False
        with open_picture(io.BytesIO(data), found, self.limits.max_pixels) as opened:
            self.pixels += opened.image.width * opened.image.height
        if self.pixels > self.limits.max_pixels:
            raise PixelError("too_many_pixels", "The pictures inside the drawing have too many pixels.")
        return True


def _is_kept(element: ET.Element) -> bool:
    name = element.tag.removeprefix(SVG)
    if not element.tag.startswith(SVG) or name in _DROPPED:
        return False
    changed = element.get("attributeName", "").lower().rpartition(":")[2]
    return not (name in _ANIMATIONS and (changed == "href" or changed.startswith("on")))


def _remove(parent: ET.Element, child: ET.Element) -> None:
    """Remove an element and keep the text behind it."""
    index = list(parent).index(child)
    if child.tail:
        if index:
            parent[index - 1].tail = (parent[index - 1].tail or "") + child.tail
        else:
            parent.text = (parent.text or "") + child.tail
    parent.remove(child)


def _corrupt(reason: str) -> PixelError:
    return PixelError("corrupt_image", f"The drawing cannot be used: {reason}.")

"""A sanitised drawing as the plain SVG that resvg draws as browsers draw the original: styles as attributes, nested
drawings as elements, embedded bitmaps as PNG.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from workers.imaging.svg import embedded, strokes
from workers.imaging.svg.properties import INITIAL
from workers.imaging.svg.reading import HREFS, SVG, read
from workers.imaging.svg.sanitise import remove
from workers.imaging.svg.size import natural_size, view_box
from workers.imaging.svg.styling import style
from workers.imaging.svg.values import Viewport, number_text

_LANGUAGES: Final = ("en-us", "en")
_REFERENCE: Final = re.compile(r"url\(#([^()]*)\)")
_GONE: Final = frozenset({f"{SVG}style", f"{SVG}title", f"{SVG}desc", f"{SVG}metadata"})


@dataclass
class Resolver:
    """Resolves a drawing and the drawings in it. scratch: a file to write embedded pictures to."""

    scratch: Path
    _drawings: int = field(default=0)

    def drawing(self, root: ET.Element) -> ET.Element:
        """A document in a frame, an svg element whose viewBox is the natural size. Raises PixelError."""
        width, height = natural_size(root)
        size = {"width": number_text(width), "height": number_text(height)}
        if view_box(root) is None:
            root.attrib |= {"viewBox": f"0 0 {size['width']} {size['height']}", "preserveAspectRatio": "none"}
        _drop_unmet(root)
        background = style(root, Viewport(width, height))
        for parent in list(root.iter()):
            remove(parent, {child for child in parent if child.tag in _GONE})
            for child in list(parent):
                if child.tag in {f"{SVG}image", f"{SVG}feImage"}:
                    self._picture(child, parent)
        root.attrib |= {"x": "0", "y": "0", **size}
        strokes.rewrite(root)
        frame = ET.Element(f"{SVG}svg", {"viewBox": f"0 0 {size['width']} {size['height']}"})
        if background:
            frame.append(ET.Element(f"{SVG}rect", {**INITIAL, **size, "fill": background}))
        frame.append(root)
        root.set("overflow", "visible")  # the edge of the frame cuts it off
        return frame

    def _picture(self, image: ET.Element, parent: ET.Element) -> None:
        href = next((key for key in HREFS if key in image.attrib), None)
        found = embedded.split(image.attrib[href]) if href else None
        kind = None if found is None else embedded.kind_of(*found)
        if href is None or found is None or kind is None:
            return
        if kind == "SVG" and image.tag == f"{SVG}image":
            self._nested(image, parent, found[1])
        elif kind != "SVG":
            picture = embedded.picture(kind, found[1], self.scratch)
            file = io.BytesIO()
            picture.save(file, "PNG", compress_level=1)
            image.attrib[href] = embedded.joined("PNG", file.getvalue())

    def _nested(self, image: ET.Element, parent: ET.Element, data: bytes) -> None:
        """Put a drawing's elements in the place of the image that shows it, cut off from the styles around it."""
        self._drawings += 1
        root = read(data)
        frame = self.drawing(root)
        _rename(root, f"d{self._drawings}-")
        root.attrib = INITIAL | root.attrib
        stretched = root.get("preserveAspectRatio") == "none"  # as browsers do with one that has no viewBox
        group = ET.Element(
            f"{SVG}g", {key: image.attrib[key] for key in image.attrib if key not in _OF_FRAME}
        )
        group.append(frame)
        group.tail = image.tail
        frame.attrib |= {
            key: image.attrib[key] for key in _OF_FRAME if key in image.attrib and key not in HREFS
        }
        if stretched:
            frame.set("preserveAspectRatio", "none")
        _auto_size(frame, float(root.attrib["width"]), float(root.attrib["height"]))
        parent[list(parent).index(image)] = group


_OF_FRAME: Final = frozenset({"x", "y", "width", "height", "preserveAspectRatio", "overflow", *HREFS})


def _auto_size(frame: ET.Element, width: float, height: float) -> None:
    """The width and height of an image that says neither, or one of them."""
    given = {key: frame.get(key, "auto") for key in ("width", "height")}
    absolute = {key: float(value) for key, value in given.items() if value.replace(".", "", 1).isdigit()}
    if given["width"] == "auto":
        ratio = absolute["height"] / height if "height" in absolute else 1
        frame.set("width", number_text(width * ratio))
    if given["height"] == "auto":
        ratio = absolute["width"] / width if "width" in absolute else 1
        frame.set("height", number_text(height * ratio))


def _rename(root: ET.Element, prefix: str) -> None:
    """Give the ids of a document a prefix, and the references to them."""
    names = {found for element in root.iter() if (found := element.get("id"))}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = prefix + value
            elif key in HREFS and value[:1] == "#" and value[1:] in names:
                element.attrib[key] = f"#{prefix}{value[1:]}"
            elif "url(" in value:
                element.attrib[key] = _REFERENCE.sub(
                    lambda found: f"url(#{prefix}{found[1]})" if found[1] in names else found[0], value
                )


def _drop_unmet(root: ET.Element) -> None:
    """Take out what a browser in English does not show: unmet conditions, and all but one child of a switch."""
    for parent in list(root.iter()):
        shown, gone = False, set[ET.Element]()
        for child in list(parent):
            if child.tag in _GONE:
                continue
            met = _met(child) and not (parent.tag == f"{SVG}switch" and shown)
            if not met:
                gone.add(child)
            shown = shown or met
            for key in ("systemLanguage", "requiredFeatures", "requiredExtensions"):
                child.attrib.pop(key, None)
        remove(parent, gone)
    for element in root.iter(f"{SVG}switch"):
        element.tag = f"{SVG}g"


def _met(element: ET.Element) -> bool:
    if "requiredExtensions" in element.attrib:
        return False
    if "systemLanguage" not in element.attrib:
        return True
    languages = [part.strip().lower() for part in element.attrib["systemLanguage"].split(",")]
    return any(one == known or one.startswith(f"{known}-") for one in languages for known in _LANGUAGES)

"""Strokes that resvg does not know: dashes along pathLength, and widths that no transform scales."""

from __future__ import annotations

import copy
import math
from typing import Final
from xml.etree import ElementTree as ET

from workers.imaging.svg import shapes
from workers.imaging.svg.reading import SVG
from workers.imaging.svg.size import view_box
from workers.imaging.svg.transforms import (
    IDENTITY,
    Matrix,
    applied,
    attribute_matrix,
    inverse,
    matrix_text,
    times,
)
from workers.imaging.svg.values import number_text

_STROKE: Final = ("stroke-width", "stroke-dasharray", "stroke-dashoffset")
Inherited = dict[str, str]


def rewrite(root: ET.Element) -> None:
    """Rewrite, in place, the strokes of a styled document whose root has no parent."""
    if any("pathLength" in element.attrib or "vector-effect" in element.attrib for element in root.iter()):
        _rewrite(root, IDENTITY, {})


def _rewrite(element: ET.Element, outer: Matrix, inherited: Inherited) -> None:
    stroke = inherited | {key: element.attrib[key] for key in _STROKE if key in element.attrib}
    matrix = times(outer, attribute_matrix(element.get("transform", "")) or IDENTITY)
    if element.tag == f"{SVG}svg":
        matrix = times(matrix, _viewport_matrix(element))
    _scale_dashes(element, stroke)
    for child in list(element):
        _rewrite(child, matrix, stroke)
        if child.attrib.pop("vector-effect", None) == "non-scaling-stroke":
            own = inherited_of(child, stroke)
            _keep_width(
                element, child, times(matrix, attribute_matrix(child.get("transform", "")) or IDENTITY), own
            )


def inherited_of(element: ET.Element, inherited: Inherited) -> Inherited:
    return inherited | {key: element.attrib[key] for key in _STROKE if key in element.attrib}


def _scale_dashes(element: ET.Element, stroke: Inherited) -> None:
    try:
        said = float(element.attrib.pop("pathLength", "0"))
    except ValueError:
        return
    lines = shapes.outline(element) if said > 0 and stroke.get("stroke-dasharray", "none") != "none" else None
    if not lines:
        return
    factor = shapes.length(lines) / said
    for key in ("stroke-dasharray", "stroke-dashoffset"):
        if key in stroke:
            element.set(key, _scaled(stroke[key], factor))


def _scaled(text: str, factor: float) -> str:
    return shapes.NUMBER.sub(lambda found: number_text(float(found[0]) * factor), text)


def _keep_width(parent: ET.Element, element: ET.Element, matrix: Matrix, stroke: Inherited) -> None:
    """Draw a stroke in the coordinates of the whole drawing: by scaling it back where the transform keeps angles,
    else along an outline that is transformed beforehand."""
    a, b, c, d, _, _ = matrix
    scale = math.sqrt(abs(a * d - b * c))
    if not scale:
        return
    if abs(a * c + b * d) < 1e-6 * scale * scale and abs(math.hypot(a, b) - math.hypot(c, d)) < 1e-3 * scale:
        for key in _STROKE:
            if key in stroke or key == "stroke-width":
                element.set(key, _scaled(stroke.get(key, "1"), 1 / scale))
        return
    back, lines = inverse(matrix), shapes.outline(element)
    if back is None or lines is None:
        return
    group = ET.Element(f"{SVG}g", {key: value for key, value in element.attrib.items() if key in _OF_GROUP})
    group.tail, element.tail = element.tail, None
    line = ET.Element(
        f"{SVG}path", {key: value for key, value in element.attrib.items() if key not in _OF_SHAPE}
    )
    line.attrib |= {
        "fill": "none",
        "transform": matrix_text(back),
        "d": _data([_moved(matrix, one) for one in lines]),
    }
    filled = copy.copy(element)
    filled.attrib = {key: value for key, value in element.attrib.items() if key not in _OF_GROUP}
    filled.set("stroke", "none")
    group.extend([filled, line])
    parent[list(parent).index(element)] = group


_OF_GROUP: Final = frozenset(
    {"id", "transform", "opacity", "clip-path", "mask", "filter", "style", "display"}
)
_OF_SHAPE: Final = _OF_GROUP | {
    "x",
    "y",
    "width",
    "height",
    "cx",
    "cy",
    "r",
    "rx",
    "ry",
    "x1",
    "y1",
    "x2",
    "y2",
}


def _moved(matrix: Matrix, line: shapes.Line) -> shapes.Line:
    return [applied(matrix, point) for point in line]


def _data(lines: list[shapes.Line]) -> str:
    parts = []
    for line in lines:
        closed = len(line) > 2 and line[0] == line[-1]
        points = " L".join(f"{number_text(x)} {number_text(y)}" for x, y in (line[:-1] if closed else line))
        parts.append(f"M{points}{'Z' if closed else ''}")
    return "".join(parts)


def _viewport_matrix(element: ET.Element) -> Matrix:
    """What an svg element's viewBox does to the coordinates in it."""
    try:
        x, y, width, height = (
            float(element.get(key, default))
            for key, default in (("x", "0"), ("y", "0"), ("width", ""), ("height", ""))
        )
    except ValueError:
        return IDENTITY
    box = view_box(element)
    if box is None:
        return 1.0, 0.0, 0.0, 1.0, x, y
    across, down = width / box[2], height / box[3]
    align, _, mode = element.get("preserveAspectRatio", "xMidYMid meet").strip().partition(" ")
    if align == "none":
        return across, 0.0, 0.0, down, x - box[0] * across, y - box[1] * down
    scale = max(across, down) if mode.strip() == "slice" else min(across, down)
    shares = {"Min": 0.0, "Mid": 0.5, "Max": 1.0}
    left = (width - box[2] * scale) * shares.get(align[1:4], 0.5)
    top = (height - box[3] * scale) * shares.get(align[5:8], 0.5)
    return scale, 0.0, 0.0, scale, x + left - box[0] * scale, y + top - box[1] * scale

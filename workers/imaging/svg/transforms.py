"""CSS transforms as the transform attribute of SVG, and affine matrices."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

from workers.imaging.svg import shapes
from workers.imaging.svg.properties import unsupported
from workers.imaging.svg.reading import SVG
from workers.imaging.svg.values import (
    Tokens,
    Viewport,
    commas,
    degrees,
    ident,
    number_text,
    parsed,
    pixels,
    words,
)

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x' = a x + c y + e, y' = b x + d y + f."""
Box = tuple[float, float, float, float]
"""(x, y, width, height)."""
IDENTITY: Final[Matrix] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_FUNCTION: Final = re.compile(r"(\w+)\s*\(([^()]*)\)")
_SIDES: Final = {"left": 0.0, "top": 0.0, "center": 50.0, "right": 100.0, "bottom": 100.0}


def times(first: Matrix, second: Matrix) -> Matrix:
    """The matrix that applies `second`, then `first`."""
    a, b, c, d, e, f = first
    g, h, i, j, k, l = second  # noqa: E741
    return a * g + c * h, b * g + d * h, a * i + c * j, b * i + d * j, a * k + c * l + e, b * k + d * l + f


def shifted(x: float, y: float) -> Matrix:
    return 1.0, 0.0, 0.0, 1.0, x, y


def matrix_text(matrix: Matrix) -> str:
    return f"matrix({' '.join(map(number_text, matrix))})"


def attribute_matrix(text: str) -> Matrix | None:
    """The matrix of an SVG transform attribute; None where it is broken, which browsers ignore whole."""
    if _FUNCTION.sub("", text).replace(",", "").strip():
        return None
    made = IDENTITY
    for name, arguments in _FUNCTION.findall(text):
        numbers = [float(found) for found in shapes.NUMBER.findall(arguments)]
        matrix = _svg_function(name, numbers)
        if matrix is None or shapes.NUMBER.sub("", arguments).replace(",", "").strip():
            return None
        made = times(made, matrix)
    return made


def _svg_function(name: str, n: list[float]) -> Matrix | None:
    made: Matrix | None = None
    match name, len(n):
        case "matrix", 6:
            made = n[0], n[1], n[2], n[3], n[4], n[5]
        case "translate", 1 | 2:
            made = shifted(n[0], n[1] if len(n) == 2 else 0.0)
        case "scale", 1 | 2:
            made = n[0], 0.0, 0.0, n[-1], 0.0, 0.0
        case "rotate", 1:
            made = _rotation(n[0])
        case "rotate", 3:
            made = about((n[1], n[2]), _rotation(n[0]))
        case "skewX", 1:
            made = 1.0, 0.0, math.tan(math.radians(n[0])), 1.0, 0.0, 0.0
        case "skewY", 1:
            made = 1.0, math.tan(math.radians(n[0])), 0.0, 1.0, 0.0, 0.0
    return made


def about(point: tuple[float, float], matrix: Matrix) -> Matrix:
    """A matrix that leaves a point where it is."""
    return times(times(shifted(*point), matrix), shifted(-point[0], -point[1]))


def _rotation(angle: float) -> Matrix:
    turn = math.radians(angle)
    return math.cos(turn), math.sin(turn), -math.sin(turn), math.cos(turn), 0.0, 0.0


def css_matrix(tokens: Tokens, viewport: Viewport, box: Box) -> Matrix | None:
    """The matrix of a CSS transform; None where the value is not valid. box: what percentages refer to."""
    if ident(tokens) == "none":
        return IDENTITY
    made = IDENTITY
    for token in words(tokens):
        if token.type != "function":
            return None
        matrix = _css_function(token.name, [words(part) for part in commas(token.arguments)], viewport, box)
        if matrix is None:
            return None
        made = times(made, matrix)
    return made


def _css_function(name: str, arguments: list[Tokens], viewport: Viewport, box: Box) -> Matrix | None:
    if not arguments or any(len(argument) != 1 for argument in arguments):
        return None
    values = [argument[0] for argument in arguments]
    lower = name.lower()
    if lower.startswith("translate"):
        return _translation(lower.removeprefix("translate"), values, viewport, box)
    if lower.startswith(("rotate", "skew")):
        angles = [degrees(value, viewport) for value in values]
        if lower == "rotate3d" and angles[:2] == [0, 0] and len(angles) == 4:
            lower, angles = "rotate", angles[3:]
        return _turn(lower, angles)
    n = [value for value in (pixels(token, viewport, whole=1.0) for token in values) if value is not None]
    return _scaling(lower, n) if len(n) == len(values) else None


def _scaling(name: str, n: list[float]) -> Matrix | None:
    made: Matrix | None = None
    match name, len(n):
        case "scalex", 1:
            made = n[0], 0.0, 0.0, 1.0, 0.0, 0.0
        case "scaley", 1:
            made = 1.0, 0.0, 0.0, n[0], 0.0, 0.0
        case "scale3d", 3:
            made = n[0], 0.0, 0.0, n[1], 0.0, 0.0
        case "scalez", 1:
            made = IDENTITY
        case "matrix3d", 16:
            made = n[0], n[1], n[4], n[5], n[12], n[13]
        case "scale" | "matrix", _:
            made = _svg_function(name, n)
    return made


def _translation(axes: str, values: Tokens, viewport: Viewport, box: Box) -> Matrix | None:
    across = pixels(values[0], viewport, whole=box[3] if axes == "y" else box[2])
    if across is None:
        return None
    if axes in {"x", "y", "z"}:
        return {"x": shifted(across, 0.0), "y": shifted(0.0, across), "z": IDENTITY}[axes]
    down = pixels(values[1], viewport, whole=box[3]) if len(values) > 1 else 0.0
    return None if down is None else shifted(across, down)


def _turn(name: str, angles: list[float | None]) -> Matrix | None:
    n = [angle for angle in angles if angle is not None]
    if len(n) != len(angles):
        return None
    made: Matrix | None = None
    match name, len(n):
        case "rotate" | "rotatez", 1:
            made = _rotation(n[0])
        case "rotatex", 1:  # seen from straight ahead: without a perspective it only narrows
            made = 1.0, 0.0, 0.0, math.cos(math.radians(n[0])), 0.0, 0.0
        case "rotatey", 1:
            made = math.cos(math.radians(n[0])), 0.0, 0.0, 1.0, 0.0, 0.0
        case "skewx", 1:
            made = _svg_function("skewX", n)
        case "skewy", 1:
            made = _svg_function("skewY", n)
        case "skew", 1 | 2:
            across, down = (math.tan(math.radians(angle)) for angle in (n[0], n[1] if len(n) == 2 else 0.0))
            made = 1.0, down, across, 1.0, 0.0, 0.0
    return made


def origin(tokens: Tokens, viewport: Viewport, box: Box) -> tuple[float, float] | None:
    """The point of a transform-origin; None where the value is not valid."""
    found = words(tokens)[:2]
    if not found:
        return None
    names = [token.lower_value if token.type == "ident" else "" for token in found]
    if len(found) == 2 and (names[0] in {"top", "bottom"} or names[1] in {"left", "right"}):
        found, names = found[::-1], names[::-1]
    if len(found) == 1 and names[0] in {"top", "bottom"}:
        found, names = [*parsed("center"), *found], ["center", *names]
    if len(found) == 1:
        found, names = [*found, *parsed("center")], [*names, "center"]
    point = []
    for token, name, start, side in zip(found, names, box[:2], box[2:], strict=True):
        at = side * _SIDES[name] / 100 if name in _SIDES else pixels(token, viewport, whole=side)
        if at is None:
            return None
        point.append(start + at)
    return point[0], point[1]


def fill_box(element: ET.Element) -> Box:
    """The bounding box of a shape, or of a group of shapes. Raises PixelError unsupported_type for anything else."""
    points = list(_points(element, IDENTITY))
    if not points:
        return 0.0, 0.0, 0.0, 0.0
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _points(element: ET.Element, matrix: Matrix) -> Iterator[tuple[float, float]]:
    if element.tag in {f"{SVG}g", f"{SVG}a"}:
        for child in element:
            own = attribute_matrix(child.get("transform", "")) or IDENTITY
            yield from _points(child, times(matrix, own))
    elif element.tag in _BOXLESS:
        return
    elif (lines := shapes.outline(element)) is not None:
        yield from (applied(matrix, point) for line in lines for point in line)
    else:
        raise unsupported(
            "turns text or pictures about their own middle (transform-box)", "transform-origin in pixels"
        )


_BOXLESS: Final = frozenset(
    SVG + name
    for name in (
        *(
            "defs",
            "clipPath",
            "mask",
            "marker",
            "pattern",
            "linearGradient",
            "radialGradient",
            "filter",
            "symbol",
        ),
        *("title", "desc", "style", "animate", "animateTransform", "animateMotion", "set"),
    )
)


def applied(matrix: Matrix, point: tuple[float, float]) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * point[0] + c * point[1] + e, b * point[0] + d * point[1] + f


def inverse(matrix: Matrix) -> Matrix | None:
    a, b, c, d, e, f = matrix
    area = a * d - b * c
    if abs(area) < 1e-12:
        return None
    return d / area, -b / area, -c / area, a / area, (c * f - d * e) / area, (b * e - a * f) / area

"""Outlines of basic shapes and paths as points: their bounding boxes and lengths."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final
from xml.etree import ElementTree as ET

from workers.imaging.svg.reading import SVG

Point = tuple[float, float]
Line = list[Point]
"""A subpath as the points of a polyline."""
_STEPS: Final = 24
"""Straight pieces that a curve becomes."""
_COMMAND: Final = re.compile(r"([MmZzLlHhVvCcSsQqTtAa])([^MmZzLlHhVvCcSsQqTtAa]*)")
NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_ARC: Final = re.compile(
    r"[\s,]*([+-]?[\d.]+(?:[eE][+-]?\d+)?)[\s,]*([+-]?[\d.]+(?:[eE][+-]?\d+)?)[\s,]*"
    r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)[\s,]*([01])[\s,]*([01])[\s,]*"
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[\s,]*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
)
_ARITY: Final = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2}


def outline(element: ET.Element) -> list[Line] | None:
    """The subpaths of a shape in its own user units; None for what is no shape, or has lengths that are not plain
    numbers."""
    try:
        found = _OUTLINES.get(element.tag.removeprefix(SVG))
        return None if found is None else found(element)
    except ValueError:
        return None


def length(lines: list[Line]) -> float:
    return sum(math.dist(first, second) for line in lines for first, second in pairwise(line))


def _number(element: ET.Element, key: str, default: str = "0") -> float:
    return float(element.get(key, default).strip().removesuffix("px"))


def _rectangle(element: ET.Element) -> list[Line]:
    x, y, width, height = (_number(element, key) for key in ("x", "y", "width", "height"))
    rx, ry = element.get("rx", element.get("ry", "0")), element.get("ry", element.get("rx", "0"))
    across, down = min(float(rx), width / 2), min(float(ry), height / 2)
    if not across or not down:
        return [[(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]]
    corners = (
        (x + width - across, y + down, -90),
        (x + width - across, y + height - down, 0),
        (x + across, y + height - down, 90),
        (x + across, y + down, 180),
    )
    line = [
        (cx + across * math.cos(angle), cy + down * math.sin(angle))
        for cx, cy, start in corners
        for angle in (math.radians(start + 90 * step / _STEPS) for step in range(_STEPS + 1))
    ]
    return [[*line, line[0]]]


def _ellipse(cx: float, cy: float, rx: float, ry: float) -> Line:
    angles = (2 * math.pi * step / (4 * _STEPS) for step in range(4 * _STEPS + 1))
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def _round(element: ET.Element) -> list[Line]:
    rx, ry = (_number(element, key, element.get("r", "0")) for key in ("rx", "ry"))
    return [_ellipse(_number(element, "cx"), _number(element, "cy"), rx, ry)]


def _straight(element: ET.Element) -> list[Line]:
    return [[(_number(element, f"x{n}"), _number(element, f"y{n}")) for n in (1, 2)]]


def _polyline(element: ET.Element) -> list[Line]:
    numbers = [float(found) for found in NUMBER.findall(element.get("points", ""))]
    return [list(zip(numbers[0::2], numbers[1::2], strict=False))]


def _polygon(element: ET.Element) -> list[Line]:
    return [line + line[:1] for line in _polyline(element)]


def path_lines(data: str) -> Iterator[Line]:
    """The subpaths of path data; what follows a mistake is left out, as browsers do."""
    line: Line = []
    at, control, last = (0.0, 0.0), (0.0, 0.0), ""
    for command, rest in _COMMAND.findall(data):
        upper = command.upper()
        if upper == "Z":
            if line:
                at = line[0]
                yield [*line, at]
            line, last = [at], "Z"
            continue
        for index, numbers in enumerate(_arguments(upper, rest)):
            kind = "L" if upper == "M" and index else upper
            start = at
            values = _absolute(kind, numbers, at) if command.islower() else numbers
            if kind == "M":
                if len(line) > 1:
                    yield line
                line, at = [(values[0], values[1])], (values[0], values[1])
            else:
                points, control = _segment(kind, values, start, control if _smooth(kind, last) else start)
                line = (line or [start]) + points
                at = points[-1]
            last = kind
    if len(line) > 1:
        yield line


def _smooth(kind: str, last: str) -> bool:
    return (kind == "S" and last in {"C", "S"}) or (kind == "T" and last in {"Q", "T"})


def _arguments(kind: str, text: str) -> Iterator[list[float]]:
    if kind == "A":
        yield from ([float(found) for found in arc] for arc in _ARC.findall(text))
        return
    numbers = [float(found) for found in NUMBER.findall(text)]
    arity = _ARITY[kind]
    yield from (numbers[at : at + arity] for at in range(0, len(numbers) - arity + 1, arity))


def _absolute(kind: str, numbers: list[float], at: Point) -> list[float]:
    if kind == "A":
        return [*numbers[:5], numbers[5] + at[0], numbers[6] + at[1]]
    if kind == "V":
        return [numbers[0] + at[1]]
    return [value + at[index % 2] for index, value in enumerate(numbers)]


def _segment(kind: str, v: list[float], start: Point, control: Point) -> tuple[Line, Point]:
    """The points of a segment after its start, and the control point that a smooth successor mirrors."""
    mirrored = 2 * start[0] - control[0], 2 * start[1] - control[1]
    match kind:
        case "H":
            return [(v[0], start[1])], start
        case "V":
            return [(start[0], v[0])], start
        case "C":
            first, second, end = (v[0], v[1]), (v[2], v[3]), (v[4], v[5])
        case "S":
            first, second, end = mirrored, (v[0], v[1]), (v[2], v[3])
        case "Q" | "T":
            middle = (v[0], v[1]) if kind == "Q" else mirrored
            end = (v[-2], v[-1])
            return [_bezier((start, middle, end), step / _STEPS) for step in range(1, _STEPS + 1)], middle
        case "A":
            return _arc(start, v), start
        case _:
            return [(v[0], v[1])], start
    curve = (start, first, second, end)
    return [_bezier(curve, step / _STEPS) for step in range(1, _STEPS + 1)], second


def _bezier(points: tuple[Point, ...], t: float) -> Point:
    while len(points) > 1:
        points = tuple((a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for a, b in pairwise(points))
    return points[0]


def _arc(start: Point, v: list[float]) -> Line:
    """An elliptical arc by its ends (SVG 2, appendix B.2)."""
    rx, ry, turn, large, sweep = abs(v[0]), abs(v[1]), math.radians(v[2]), v[3], v[4]
    end = (v[5], v[6])
    if not rx or not ry or start == end:
        return [end]
    cos, sin = math.cos(turn), math.sin(turn)
    dx, dy = (start[0] - end[0]) / 2, (start[1] - end[1]) / 2
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    grow = math.sqrt(max(1.0, (x / rx) ** 2 + (y / ry) ** 2))
    rx, ry = rx * grow, ry * grow
    under = (rx * y) ** 2 + (ry * x) ** 2
    factor = math.sqrt(max(0.0, ((rx * ry) ** 2 - under) / under)) * (-1 if large == sweep else 1)
    cx, cy = factor * rx * y / ry, -factor * ry * x / rx
    first = math.atan2((y - cy) / ry, (x - cx) / rx)
    sweeping = math.atan2((-y - cy) / ry, (-x - cx) / rx) - first
    if sweep and sweeping < 0:
        sweeping += 2 * math.pi
    elif not sweep and sweeping > 0:
        sweeping -= 2 * math.pi
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    points = []
    for step in range(1, 2 * _STEPS):
        angle = first + sweeping * step / (2 * _STEPS)
        px, py = cx + rx * math.cos(angle), cy + ry * math.sin(angle)
        points.append((cos * px - sin * py + middle[0], sin * px + cos * py + middle[1]))
    return [*points, end]


_OUTLINES: Final[dict[str, Callable[[ET.Element], list[Line]]]] = {
    "path": lambda element: list(path_lines(element.get("d", ""))),
    "rect": _rectangle,
    "circle": _round,
    "ellipse": _round,
    "line": _straight,
    "polyline": _polyline,
    "polygon": _polygon,
}

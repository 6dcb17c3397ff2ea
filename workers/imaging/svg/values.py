"""CSS values as the attributes that resvg reads: colours as sRGB, lengths as numbers or plain units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tinycss2
from tinycss2.color4 import Color
from tinycss2.color5 import parse_color

from workers.imaging.svg.size import PIXELS

Tokens = Sequence[Any]
"""Component values of tinycss2, without white space and comments at the ends."""
_ANGLES: Final = {"deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}
_OF_FONT: Final = {"em": 1.0, "ex": 0.5, "ch": 0.5, "ic": 1.0, "cap": 0.7, "lh": 1.2}
"""Units that depend on the font, in ems; but for em as nearly as it goes without asking the font."""


@dataclass(frozen=True, slots=True)
class Viewport:
    """What relative units and media queries refer to, in CSS pixels: the whole drawing, and the font size (em)."""

    width: float
    height: float
    em: float = 16.0

    def unit(self, name: str) -> float | None:
        """CSS pixels of a unit; None for one that is unknown."""
        sides = {"vw": self.width, "vh": self.height}
        sides |= {"vmin": min(sides.values()), "vmax": max(sides.values())}
        if name in sides:
            return sides[name] / 100
        if name in _OF_FONT:
            return self.em * _OF_FONT[name]
        return PIXELS.get(name)


def parsed(text: str) -> Tokens:
    """The component values of a text, white space at its ends apart."""
    return trimmed(tinycss2.parse_component_value_list(text, skip_comments=True))


def trimmed(tokens: Iterable[Any]) -> Tokens:
    found = list(tokens)
    while found and found[0].type == "whitespace":
        del found[0]
    while found and found[-1].type == "whitespace":
        del found[-1]
    return found


def words(tokens: Iterable[Any]) -> Tokens:
    """Component values without white space."""
    return [token for token in tokens if token.type not in {"whitespace", "comment"}]


def commas(tokens: Iterable[Any]) -> list[Tokens]:
    """Component values between commas."""
    parts: list[list[Any]] = [[]]
    for token in tokens:
        if token.type == "literal" and token.value == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [trimmed(part) for part in parts]


def ident(tokens: Tokens) -> str | None:
    """The one keyword that a value is, lower case."""
    [*found] = words(tokens)
    return found[0].lower_value if len(found) == 1 and found[0].type == "ident" else None


def number_text(value: float) -> str:
    return f"{value:.10g}"


def colour(tokens: Tokens) -> str | None:
    """A colour as resvg reads it, `currentColor` included; None for what is none."""
    [*found] = words(tokens)
    if len(found) != 1:
        return None
    rgba = _rgba(found[0])
    if rgba is None or isinstance(rgba, str):
        return rgba
    red, green, blue, alpha = rgba
    levels = [min(255, max(0, math.floor(channel * 255 + 0.5))) for channel in (red, green, blue)]
    if alpha >= 1:
        return "#{:02x}{:02x}{:02x}".format(*levels)
    return f"rgba({levels[0]},{levels[1]},{levels[2]},{number_text(max(0.0, alpha))})"


def _rgba(token: Any) -> tuple[float, float, float, float] | str | None:
    if token.type == "function" and token.lower_name == "color-mix":
        return _mixed(token.arguments)
    if token.type == "ident" and token.lower_value in _SYSTEM:
        token = tinycss2.parse_one_component_value(_SYSTEM[token.lower_value])
    try:
        found = parse_color(token)
    except (ValueError, AssertionError, IndexError, TypeError):
        return None
    if found is None:
        return None
    if not isinstance(found, Color):
        return "currentColor" if str(found).lower() == "currentcolor" else None
    red, green, blue = _srgb(found)
    return red, green, blue, found.alpha


_SYSTEM: Final = {
    "canvas": "#fff",
    "canvastext": "#000",
    "linktext": "#0000ee",
    "visitedtext": "#551a8b",
    "activetext": "#ff0000",
    "buttonface": "#f0f0f0",
    "buttontext": "#000",
    "buttonborder": "#767676",
    "field": "#fff",
    "fieldtext": "#000",
    "graytext": "#808080",
    "highlight": "#3390ff",
    "highlighttext": "#fff",
    "mark": "#ff0",
    "marktext": "#000",
    "windowtext": "#000",
    "window": "#fff",
}
"""System colours of Chromium in its light scheme."""

Triple = tuple[float, float, float]
# Linear RGB of a colour space to CIE XYZ (D65), and back for sRGB (CSS Color 4, section 17).
_TO_XYZ: Final[dict[str, tuple[Triple, Triple, Triple]]] = {
    "srgb-linear": (
        (0.41239079926595934, 0.357584339383878, 0.1804807884018343),
        (0.21263900587151027, 0.715168678767756, 0.07219231536073371),
        (0.01933081871559182, 0.11919477979462598, 0.9505321522496607),
    ),
    "display-p3": (
        (0.4865709486482162, 0.26566769316909306, 0.1982172852343625),
        (0.2289745640697488, 0.6917385218365064, 0.079286914093745),
        (0.0, 0.04511338185890264, 1.043944368900976),
    ),
    "a98-rgb": (
        (0.5766690429101305, 0.1855582379065463, 0.1882286462349947),
        (0.29734497525053605, 0.6273635662554661, 0.07529145849399788),
        (0.02703136138641234, 0.07068885253582723, 0.9913375368376388),
    ),
    "rec2020": (
        (0.6369580483012914, 0.14461690358620832, 0.1688809751641721),
        (0.2627002120112671, 0.6779980715188708, 0.05930171646986196),
        (0.0, 0.028072693049087428, 1.060985057710791),
    ),
    "prophoto-rgb": (
        (0.7977666449006423, 0.13518129740053308, 0.0313477341283922),
        (0.2880748288194013, 0.711835234241873, 0.00008993693872564),
        (0.0, 0.0, 0.8251046025104602),
    ),
}
_XYZ_TO_LINEAR: Final[tuple[Triple, Triple, Triple]] = (
    (3.2409699419045226, -1.537383177570094, -0.4986107602930034),
    (-0.9692436362808796, 1.8759675015077202, 0.04155505740717559),
    (0.05563007969699366, -0.20397695888897652, 1.0569715142428786),
)
_D50_TO_D65: Final[tuple[Triple, Triple, Triple]] = (
    (0.955473421488075, -0.02309845494876471, 0.06325924320057072),
    (-0.0283697093338637, 1.0099953980813041, 0.021041441191917323),
    (0.012314014864481998, -0.020507649298898964, 1.330365926242124),
)


def _times(matrix: tuple[Triple, Triple, Triple], vector: Triple) -> Triple:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _encoded(linear: float) -> float:
    size = abs(linear)
    value = 12.92 * size if size <= 0.0031308 else 1.055 * size ** (1 / 2.4) - 0.055
    return math.copysign(value, linear)


def _linear(encoded: float, space: str) -> float:
    size = abs(encoded)
    match space:
        case "srgb" | "display-p3":
            value = size / 12.92 if size <= 0.04045 else ((size + 0.055) / 1.055) ** 2.4
        case "a98-rgb":
            value = size ** (563 / 256)
        case "prophoto-rgb":
            value = size / 16 if size <= 16 / 512 else size**1.8
        case "rec2020":
            alpha, beta = 1.09929682680944, 0.018053968510807
            value = size / 4.5 if size < beta * 4.5 else ((size + alpha - 1) / alpha) ** (1 / 0.45)
        case _:
            value = size
    return math.copysign(value, encoded)


def _xyz(found: Color) -> Triple:
    """CIE XYZ, D65, of a colour in any space of CSS Color 4."""
    if found.space in {"hsl", "hwb"}:
        found = found.to("srgb")
    if found.space in {"lab", "lch"}:
        found = found.to("xyz-d50")
    elif found.space in {"oklab", "oklch"}:
        found = found.to("xyz-d65")
    a, b, c = (value or 0.0 for value in found.coordinates)
    if found.space in {"xyz", "xyz-d65"}:
        return a, b, c
    if found.space == "xyz-d50":
        return _times(_D50_TO_D65, (a, b, c))
    linear = (_linear(a, found.space), _linear(b, found.space), _linear(c, found.space))
    xyz = _times(_TO_XYZ["srgb-linear" if found.space == "srgb" else found.space], linear)
    return _times(_D50_TO_D65, xyz) if found.space == "prophoto-rgb" else xyz


def _srgb(found: Color) -> Triple:
    if found.space in {"srgb", "hsl", "hwb"}:
        red, green, blue = (value or 0.0 for value in found.to("srgb").coordinates)
    else:
        red, green, blue = (_encoded(value) for value in _times(_XYZ_TO_LINEAR, _xyz(found)))
    return red, green, blue


def _mixed(arguments: Iterable[Any]) -> tuple[float, float, float, float] | None:
    """color-mix() in one of the spaces with straight axes; None for the others."""
    head, *rest = commas(arguments)
    space = [token.lower_value for token in words(head) if token.type == "ident"]
    if len(rest) != 2 or len(space) != 2 or space[0] != "in" or space[1] not in _MIXING:
        return None
    into, back = _MIXING[space[1]]
    colours, shares = [], []
    for part in rest:
        tokens = words(part)
        share = [token.value / 100 for token in tokens if token.type == "percentage"]
        [*inks] = (token for token in tokens if token.type != "percentage")
        rgba = _rgba(inks[0]) if len(inks) == 1 else None
        if rgba is None or isinstance(rgba, str) or len(share) > 1:
            return None
        colours.append(rgba)
        shares.append(share[0] if share else None)
    first, second = shares
    if first is None:
        first = 0.5 if second is None else 1 - second
    second = 1 - first if second is None else second
    total = first + second
    if total <= 0:
        return None
    weights = first / total, second / total
    alpha = sum(rgba[3] * weight for rgba, weight in zip(colours, weights, strict=True))
    mixed = [0.0, 0.0, 0.0]
    for rgba, weight in zip(colours, weights, strict=True):
        for axis, value in enumerate(into(rgba[:3])):
            mixed[axis] += value * weight * (rgba[3] / alpha if alpha else 0)
    red, green, blue = back((mixed[0], mixed[1], mixed[2]))
    return red, green, blue, alpha * min(1.0, total)


def _same(rgb: Triple) -> Triple:
    return rgb


def _to_linear(rgb: Triple) -> Triple:
    return _linear(rgb[0], "srgb"), _linear(rgb[1], "srgb"), _linear(rgb[2], "srgb")


def _from_linear(rgb: Triple) -> Triple:
    return _encoded(rgb[0]), _encoded(rgb[1]), _encoded(rgb[2])


def _to_oklab(rgb: Triple) -> Triple:
    red, green, blue = _to_linear(rgb)
    l = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)  # noqa: E741
    m = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    s = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    )


def _from_oklab(lab: Triple) -> Triple:
    return _srgb(Color("oklab", lab, 1))


_MIXING: Final[dict[str, tuple[Callable[[Triple], Triple], Callable[[Triple], Triple]]]] = {
    "srgb": (_same, _same),
    "srgb-linear": (_to_linear, _from_linear),
    "oklab": (_to_oklab, _from_oklab),
}


def length(tokens: Tokens, viewport: Viewport, *, unitless: bool = True) -> str | None:
    """A length or percentage as resvg reads it; None for what is none. unitless: plain numbers are user units."""
    [*found] = words(tokens)
    if len(found) != 1:
        return None
    [token] = found
    if token.type == "percentage":
        return f"{number_text(token.value)}%"
    if token.type == "number" and token.value != 0 and not unitless:
        return None
    value = calculated(token, viewport) if token.type == "function" else pixels(token, viewport)
    return None if value is None else number_text(value)


def pixels(token: Any, viewport: Viewport, whole: float = 0.0) -> float | None:
    """One length in CSS pixels. whole: what 100 % is."""
    match token.type:
        case "number":
            return float(token.value)
        case "percentage":
            return float(token.value) * whole / 100
        case "dimension":
            factor = viewport.unit(token.lower_unit)
            return None if factor is None else float(token.value) * factor
        case "function":
            return calculated(token, viewport, whole)
        case _:
            return None


def number(tokens: Tokens, viewport: Viewport) -> float | None:
    """A number, or a percentage as a share of 1."""
    [*found] = words(tokens)
    if len(found) != 1 or found[0].type not in {"number", "percentage", "function"}:
        return None
    return pixels(found[0], viewport, whole=1.0)


def degrees(token: Any, viewport: Viewport) -> float | None:
    if token.type == "dimension" and token.lower_unit in _ANGLES:
        return float(token.value) * _ANGLES[token.lower_unit]
    if token.type == "number" and token.value == 0:
        return 0.0
    return calculated(token, viewport) if token.type == "function" else None


def calculated(token: Any, viewport: Viewport, whole: float | None = None) -> float | None:
    """calc(), min(), max() or clamp() of lengths, numbers and angles; None where it depends on the font, or on a
    percentage of something unknown (`whole` is None)."""
    if token.lower_name == "calc":
        return _sum(words(token.arguments), viewport, whole)
    if token.lower_name not in {"min", "max", "clamp"}:
        return None
    parts = [_sum(words(part), viewport, whole) for part in commas(token.arguments)]
    values = [value for value in parts if value is not None]
    if len(values) != len(parts) or not values or (token.lower_name == "clamp" and len(values) != 3):
        return None
    if token.lower_name == "clamp":
        return max(values[0], min(values[1], values[2]))
    return min(values) if token.lower_name == "min" else max(values)


def _sum(tokens: Tokens, viewport: Viewport, whole: float | None) -> float | None:
    """Terms of products, as CSS orders them."""
    total, sign, term = 0.0, 1.0, None
    operator = "*"
    for token in tokens:
        if token.type == "literal" and token.value in {"+", "-"}:
            if term is None:
                return None
            total, sign, term, operator = total + sign * term, -1.0 if token.value == "-" else 1.0, None, "*"
        elif token.type == "literal" and token.value in {"*", "/"}:
            operator = token.value
        else:
            value = _operand(token, viewport, whole)
            if value is None or (operator == "/" and value == 0):
                return None
            scaled = value if term is None else term * value
            term = term / value if term is not None and operator == "/" else scaled
    return None if term is None else total + sign * term


def _operand(token: Any, viewport: Viewport, whole: float | None) -> float | None:
    if token.type == "() block":
        return _sum(words(token.content), viewport, whole)
    if token.type == "percentage" and whole is None:
        return None
    if token.type == "dimension" and token.lower_unit in _ANGLES:
        return degrees(token, viewport)
    return pixels(token, viewport, whole or 0.0)

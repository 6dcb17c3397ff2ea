"""The CSS properties that change how a drawing looks, and what resvg is told for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import tinycss2

from workers.imaging.svg import fonts
from workers.imaging.svg.values import (
    Tokens,
    Viewport,
    colour,
    commas,
    ident,
    length,
    number,
    number_text,
    pixels,
    words,
)
from workers.pixel_errors import PixelError

Converter = Callable[[Tokens, Viewport], str | None]
"""A value as an attribute's text; None where it is not a value of the property."""


def _keywords(*known: str) -> Converter:
    names = frozenset(known)

    def convert(tokens: Tokens, _viewport: Viewport) -> str | None:
        word = ident(tokens)
        return word if word in names else None

    return convert


def _colour(tokens: Tokens, _viewport: Viewport) -> str | None:
    return colour(tokens)


def _paint(tokens: Tokens, _viewport: Viewport) -> str | None:
    """`none`, a colour, or a reference with an optional fallback."""
    if ident(tokens) in {"none", "context-fill", "context-stroke"}:
        return ident(tokens)
    found = words(tokens)
    if found and (target := _target(found[:1])):
        rest = found[1:]
        if not rest:
            return target
        fallback = "none" if ident(rest) == "none" else colour(rest)
        return None if fallback is None else f"{target} {fallback}"
    return colour(tokens)


def _target(tokens: Tokens) -> str | None:
    """`url(#id)` of a reference inside the document."""
    found = words(tokens)
    if len(found) != 1:
        return None
    [token] = found
    if token.type == "url":
        return f"url({token.value})"
    if token.type == "function" and token.lower_name == "url":
        inner = words(token.arguments)
        if len(inner) == 1 and inner[0].type == "string":
            return f"url({inner[0].value})"
    return None


def _reference(tokens: Tokens, _viewport: Viewport) -> str | None:
    if ident(tokens) == "none":
        return "none"
    return _target(tokens)


def _clip(tokens: Tokens, viewport: Viewport) -> str | None:
    found = words(tokens)
    if any(token.type == "function" and token.lower_name in _SHAPES for token in found):
        raise unsupported("clips with a CSS shape (clip-path)", "a clipPath element")
    return _reference([token for token in found if token.type != "ident"] or tokens, viewport)


def _mask(tokens: Tokens, viewport: Viewport) -> str | None:
    found = words(tokens)
    if any(token.type == "function" and token.lower_name.endswith("gradient") for token in found):
        raise unsupported("masks with a CSS gradient", "a mask element")
    targets = [token for token in found if _target([token])]
    return _reference(targets[:1] or tokens, viewport)


_SHAPES: Final = frozenset({"inset", "circle", "ellipse", "polygon", "path", "rect", "xywh", "shape"})


def unsupported(what: str, instead: str) -> PixelError:
    return PixelError(
        "unsupported_type",
        f"The drawing {what}, which is not drawn here: use {instead}, or send it as a PNG.",
    )


def _filter(tokens: Tokens, viewport: Viewport) -> str | None:
    if ident(tokens) == "none":
        return "none"
    made = []
    for token in words(tokens):
        if target := _target([token]):
            made.append(target)
        elif token.type == "function":
            made.append(_filter_function(token.lower_name, token.arguments, viewport))
        else:
            return None
    return " ".join(made) if made else None


def _filter_function(name: str, arguments: Tokens, viewport: Viewport) -> str:
    parts = []
    for token in words(arguments):
        inner = colour([token]) if token.type in {"ident", "hash", "function"} else None
        if inner is None and token.type in {"dimension", "function"}:
            amount = pixels(token, viewport)
            inner = None if amount is None else f"{number_text(amount)}px"
        parts.append(inner or tinycss2.serialize([token]))
    return f"{name}({' '.join(parts)})"


def _length(tokens: Tokens, viewport: Viewport) -> str | None:
    return length(tokens, viewport)


def _spacing(tokens: Tokens, viewport: Viewport) -> str | None:
    return "0" if ident(tokens) == "normal" else length(tokens, viewport)


def _size(tokens: Tokens, viewport: Viewport) -> str | None:
    return ident(tokens) if ident(tokens) in _FONT_SIZES else length(tokens, viewport)


_FONT_SIZES: Final = frozenset(
    {"xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "larger", "smaller"}
)


def _baseline(tokens: Tokens, viewport: Viewport) -> str | None:
    return ident(tokens) if ident(tokens) in {"baseline", "sub", "super"} else length(tokens, viewport)


def _share(tokens: Tokens, viewport: Viewport) -> str | None:
    value = number(tokens, viewport)
    return None if value is None else number_text(min(1.0, max(0.0, value)))


def _number(tokens: Tokens, viewport: Viewport) -> str | None:
    value = number(tokens, viewport)
    return None if value is None else number_text(value)


def _dashes(tokens: Tokens, viewport: Viewport) -> str | None:
    if ident(tokens) == "none":
        return "none"
    made = [length([token], viewport) for part in commas(tokens) for token in words(part)]
    return None if not made or None in made else " ".join(part for part in made if part)


def _weight(tokens: Tokens, viewport: Viewport) -> str | None:
    word = ident(tokens)
    if word in {"normal", "bold", "bolder", "lighter"}:
        return word
    value = number(tokens, viewport)
    return (
        None if value is None or not 1 <= value <= 1000 else str(min(900, max(100, round(value / 100) * 100)))
    )


def _decoration(tokens: Tokens, _viewport: Viewport) -> str | None:
    lines = [token.lower_value for token in words(tokens) if token.type == "ident"]
    return " ".join(line for line in lines if line in {"underline", "overline", "line-through"}) or (
        "none" if "none" in lines else None
    )


def _order(tokens: Tokens, _viewport: Viewport) -> str | None:
    found = [token.lower_value if token.type == "ident" else "" for token in words(tokens)]
    return " ".join(found) if found and set(found) <= {"normal", "fill", "stroke", "markers"} else None


def _text(tokens: Tokens, _viewport: Viewport) -> str | None:
    return tinycss2.serialize(tokens).strip() or None


def _path(tokens: Tokens, _viewport: Viewport) -> str | None:
    if ident(tokens) == "none":
        return ""
    found = words(tokens)
    if len(found) == 1 and found[0].type == "function" and found[0].lower_name == "path":
        texts = [token.value for token in words(found[0].arguments) if token.type == "string"]
        return str(texts[-1]) if texts else None
    return None


def _extent(tokens: Tokens, viewport: Viewport) -> str | None:
    return "auto" if ident(tokens) == "auto" else length(tokens, viewport, unitless=False)


def _stretch(tokens: Tokens, viewport: Viewport) -> str | None:
    return ident(tokens) or _text(tokens, viewport)


def _family(tokens: Tokens, _viewport: Viewport) -> str | None:
    return fonts.family(tokens)


_CONVERTERS: Final[dict[str, Converter]] = {
    "fill": _paint,
    "stroke": _paint,
    "color": _colour,
    "stop-color": _colour,
    "flood-color": _colour,
    "lighting-color": _colour,
    **dict.fromkeys(("opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "flood-opacity"), _share),
    "stroke-width": _length,
    "stroke-dashoffset": _length,
    "stroke-dasharray": _dashes,
    "stroke-miterlimit": _number,
    "stroke-linecap": _keywords("butt", "round", "square"),
    "stroke-linejoin": _keywords("miter", "miter-clip", "round", "bevel", "arcs"),
    "fill-rule": _keywords("nonzero", "evenodd"),
    "clip-rule": _keywords("nonzero", "evenodd"),
    "clip-path": _clip,
    "mask": _mask,
    "mask-type": _keywords("luminance", "alpha"),
    "filter": _filter,
    **dict.fromkeys(("marker-start", "marker-mid", "marker-end"), _reference),
    "display": _text,
    "visibility": _keywords("visible", "hidden", "collapse"),
    "overflow": _keywords("visible", "hidden", "scroll", "auto", "clip"),
    "paint-order": _order,
    "vector-effect": _text,
    "mix-blend-mode": _text,
    "isolation": _keywords("auto", "isolate"),
    "shape-rendering": _text,
    "text-rendering": _text,
    "image-rendering": _text,
    "color-interpolation-filters": _text,
    "font-family": _family,
    "font-size": _size,
    "font-style": _text,
    "font-weight": _weight,
    "font-stretch": _stretch,
    "font-variant": _text,
    "font-kerning": _text,
    "letter-spacing": _spacing,
    "word-spacing": _spacing,
    "text-anchor": _keywords("start", "middle", "end"),
    "text-decoration": _decoration,
    "text-transform": _keywords("none", "uppercase", "lowercase", "capitalize"),
    "text-orientation": _text,
    "dominant-baseline": _text,
    "alignment-baseline": _text,
    "baseline-shift": _baseline,
    "writing-mode": _text,
    "direction": _keywords("ltr", "rtl"),
    "unicode-bidi": _text,
    "white-space": _text,
}
GEOMETRY: Final[dict[str, tuple[frozenset[str], Converter]]] = {
    **dict.fromkeys(("x", "y"), (frozenset({"svg", "rect", "image", "use"}), _extent)),
    **dict.fromkeys(("width", "height"), (frozenset({"svg", "rect", "image", "use"}), _extent)),
    **dict.fromkeys(("cx", "cy"), (frozenset({"circle", "ellipse"}), _extent)),
    "r": (frozenset({"circle"}), _extent),
    **dict.fromkeys(("rx", "ry"), (frozenset({"rect", "ellipse"}), _extent)),
    "d": (frozenset({"path"}), _path),
}
"""Attributes that CSS may set on some elements."""
CSS_ONLY: Final = frozenset({"mix-blend-mode", "isolation", "white-space", "text-transform"})
"""Properties that browsers read from style alone. resvg reads them from attributes too."""
PRESENTATION: Final = frozenset(_CONVERTERS) - CSS_ONLY
"""Attributes that are declarations of the lowest rank."""
_MOVING: Final = frozenset({"transform", "transform-origin", "transform-box", "translate", "rotate", "scale"})
INITIAL: Final = {
    "fill": "#000000",
    "stroke": "none",
    "color": "#000000",
    "fill-opacity": "1",
    "stroke-opacity": "1",
    "stroke-width": "1",
    "stroke-dasharray": "none",
    "stroke-dashoffset": "0",
    "stroke-linecap": "butt",
    "stroke-linejoin": "miter",
    "stroke-miterlimit": "4",
    "fill-rule": "nonzero",
    "clip-rule": "nonzero",
    "marker-start": "none",
    "marker-mid": "none",
    "marker-end": "none",
    "visibility": "visible",
    "paint-order": "normal",
    "shape-rendering": "auto",
    "text-rendering": "auto",
    "image-rendering": "auto",
    "color-interpolation-filters": "linearRGB",
    "font-size": "16",
    "font-style": "normal",
    "font-weight": "400",
    "font-stretch": "normal",
    "font-variant": "normal",
    "letter-spacing": "0",
    "word-spacing": "0",
    "text-anchor": "start",
    "text-transform": "none",
    "dominant-baseline": "auto",
    "writing-mode": "horizontal-tb",
    "direction": "ltr",
}
"""Initial values of the properties that are inherited."""


def is_property(name: str) -> bool:
    return name.startswith("--") or name in _CONVERTERS or name in GEOMETRY or name in _MOVING


def converted(name: str, tokens: Tokens, element: str, viewport: Viewport) -> str | None:
    """A value of a property as an attribute's text; None where the property takes no such value there.

    element: local name. Raises PixelError unsupported_type for what browsers draw and resvg cannot.
    """
    word = ident(tokens)
    if word == "inherit":
        return "inherit"
    if name in GEOMETRY:
        elements, convert = GEOMETRY[name]
        return convert(tokens, viewport) if element in elements else None
    converter = _CONVERTERS.get(name)
    return None if converter is None else converter(tokens, viewport)

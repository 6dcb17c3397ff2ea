"""Media and feature queries, answered as Chromium answers them for a picture on a light screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from workers.imaging.svg.values import Tokens, Viewport, commas, pixels, words

_TYPES: Final = frozenset({"all", "screen"})
_FEATURES: Final = {
    "prefers-color-scheme": "light",
    "prefers-reduced-motion": "no-preference",
    "prefers-reduced-transparency": "no-preference",
    "prefers-reduced-data": "no-preference",
    "prefers-contrast": "no-preference",
    "forced-colors": "none",
    "inverted-colors": "none",
    "hover": "hover",
    "any-hover": "hover",
    "pointer": "fine",
    "any-pointer": "fine",
    "update": "fast",
    "scripting": "none",
    "color-gamut": "srgb",
    "dynamic-range": "standard",
    "display-mode": "browser",
    "grid": "0",
    "monochrome": "0",
}
_TRUE_ALONE: Final = frozenset(
    {"prefers-color-scheme", "hover", "any-hover", "pointer", "any-pointer", "update", "color-gamut"}
) | {"width", "height", "color", "aspect-ratio", "orientation", "resolution", "dynamic-range", "display-mode"}
_COLOUR_BITS: Final = 8.0


def matches(query: Iterable[Any], viewport: Viewport) -> bool:
    """Whether one of the media queries in a list holds; an empty list always does."""
    parts = commas(query)
    return parts == [[]] or any(_query(words(part), viewport) for part in parts)


def supported(condition: Iterable[Any], known: Callable[[Tokens], bool]) -> bool:
    """Whether an @supports condition holds. known: whether a declaration's tokens are understood."""
    return bool(_condition(words(condition), lambda block: known(block.content)))


def _query(tokens: Tokens, viewport: Viewport) -> bool:
    def feature(block: Any) -> bool | None:
        return _feature(words(block.content), viewport)

    if not tokens:
        return False
    negated = False
    rest = list(tokens)
    if _word(rest[0]) in {"not", "only"} and len(rest) > 1 and _word(rest[1]):
        negated = _word(rest.pop(0)) == "not"
    if name := _word(rest[0]):
        if name == "not":
            return bool(_condition(rest, feature))
        holds: bool | None = name in _TYPES
        if len(rest) > 1:
            if _word(rest[1]) != "and":
                return False
            more = _condition(rest[2:], feature)
            holds = None if more is None else holds and more
    else:
        holds = _condition(rest, feature)
    return False if holds is None else holds != negated


def _condition(tokens: Tokens, test: Callable[[Any], bool | None]) -> bool | None:
    """`not`, `and` and `or` of blocks; None where a part is not understood."""
    if not tokens:
        return None
    if _word(tokens[0]) == "not":
        inner = _block(tokens[1], test) if len(tokens) == 2 else None
        return None if inner is None else not inner
    result = _block(tokens[0], test)
    for joint, token in zip(tokens[1::2], tokens[2::2], strict=False):
        more = _block(token, test)
        if result is None or more is None or _word(joint) not in {"and", "or"}:
            return None
        result = (result and more) if _word(joint) == "and" else (result or more)
    return result if len(tokens) % 2 else None


def _block(token: Any, test: Callable[[Any], bool | None]) -> bool | None:
    if token.type != "() block":
        return None
    inner = words(token.content)
    if inner and (inner[0].type == "() block" or _word(inner[0]) == "not"):
        return _condition(inner, test)
    return test(token)


def _word(token: Any) -> str:
    return str(token.lower_value) if token.type == "ident" else ""


def _feature(tokens: Tokens, viewport: Viewport) -> bool | None:
    """One feature: `name`, `name: value`, or a range such as `1px < width <= 2px`; None where it is unknown."""
    if len(tokens) == 1:
        return _word(tokens[0]) in _TRUE_ALONE
    text = [token.value if token.type == "literal" else None for token in tokens]
    if text[1] == ":":
        return _plain(_word(tokens[0]), tokens[2:], viewport)
    return _range(tokens, viewport)


def _plain(name: str, value: Tokens, viewport: Viewport) -> bool | None:
    if name in _FEATURES:
        return (
            len(value) == 1
            and str(value[0].value if value[0].type == "ident" else "").lower() == (_FEATURES[name])
        )
    if name == "orientation":
        return len(value) == 1 and _word(value[0]) == (
            "portrait" if viewport.height >= viewport.width else "landscape"
        )
    bound, _, feature = name.partition("-") if name.startswith(("min-", "max-")) else ("", "", name)
    measure, wanted = _measure(feature, viewport), _amount(value, viewport)
    if measure is None or wanted is None:
        return None
    if bound == "min":
        return measure >= wanted
    return measure <= wanted if bound == "max" else abs(measure - wanted) < 1e-6


def _range(tokens: Tokens, viewport: Viewport) -> bool | None:
    sides: list[list[Any]] = [[]]
    signs: list[str] = []
    for token in tokens:
        if token.type == "literal" and token.value in {"<", ">", "=", "<=", ">="}:
            if token.value == "=" and signs and not sides[-1]:
                signs[-1] += "="
            else:
                signs.append(token.value)
                sides.append([])
        else:
            sides[-1].append(token)
    values = []
    for side in sides:
        name = _word(side[0]) if len(side) == 1 else ""
        values.append(_measure(name, viewport) if name else _amount(side, viewport))
    if not signs or any(value is None for value in values):
        return None
    return all(
        _compare(left, sign, right)
        for left, sign, right in zip(values, signs, values[1:], strict=False)
        if left is not None and right is not None
    )


def _compare(left: float, sign: str, right: float) -> bool:
    match sign:
        case "<":
            return left < right
        case ">":
            return left > right
        case "<=":
            return left <= right
        case ">=":
            return left >= right
        case _:
            return left == right


def _measure(feature: str, viewport: Viewport) -> float | None:
    return {
        "width": viewport.width,
        "height": viewport.height,
        "device-width": viewport.width,
        "device-height": viewport.height,
        "aspect-ratio": viewport.width / viewport.height,
        "resolution": 1.0,
        "color": _COLOUR_BITS,
    }.get(feature)


def _amount(tokens: Tokens, viewport: Viewport) -> float | None:
    """A length in pixels, a ratio, a resolution in dots per pixel, or a number."""
    if len(tokens) == 3 and tokens[1].type == "literal" and tokens[1].value == "/":
        above, below = (pixels(token, viewport) for token in (tokens[0], tokens[2]))
        return above / below if above is not None and below else None
    if len(tokens) != 1:
        return None
    [token] = tokens
    if token.type == "dimension" and token.lower_unit in {"dppx", "x", "dpi", "dpcm"}:
        return float(token.value) / {"dppx": 1, "x": 1, "dpi": 96, "dpcm": 96 / 2.54}[token.lower_unit]
    return pixels(token, viewport)

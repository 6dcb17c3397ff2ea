"""The values that parameters of an op can take, and how they are written in an op_key.

A value in an op_key is text over ``[a-z0-9._#-]``. Everything after the first hyphen of ``name-value``
belongs to the value, so ``x--12.5`` is ``x = -12.5``. Each kind of value has one canonical spelling:

- numbers: no leading zeros, no trailing decimal zeros, no ``-0`` (``0800`` and ``800.0`` are ``800``)
- switches: ``true`` or ``false``
- colours: a name of :data:`COLOURS`, else six hex digits without ``#``
- aspect ratios: ``WxH`` in lowest terms
- text: see :func:`escape`
- input documents: their digest, 64 hex digits (see :mod:`service.ops.inputs`)
"""

import math
import re
import types
import unicodedata
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

COLOURS = {
    "white": "ffffff",
    "black": "000000",
    "gray": "808080",
    "silver": "c0c0c0",
    "red": "ff0000",
    "maroon": "800000",
    "orange": "ffa500",
    "yellow": "ffff00",
    "olive": "808000",
    "lime": "00ff00",
    "green": "008000",
    "teal": "008080",
    "cyan": "00ffff",
    "blue": "0000ff",
    "navy": "000080",
    "purple": "800080",
    "magenta": "ff00ff",
    "pink": "ffc0cb",
    "beige": "f5f5dc",
    "ivory": "fffff0",
}
"""Names of CSS, one for each colour, so that a colour has one canonical spelling."""

_NAMES = {code: name for name, code in COLOURS.items()}
_NUMBER = re.compile(r"-?[0-9]{1,7}(?:\.[0-9]{1,7})?", re.ASCII)
_COLOUR_PATTERN = rf"^(?:{'|'.join(COLOURS)}|#?[0-9a-f]{{3}}|#?[0-9a-f]{{6}})$"
_HEX = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{6})", re.ASCII)
_ASPECT_PATTERN = r"^(?:100|[1-9][0-9]?)x(?:100|[1-9][0-9]?)$"

TEXT_MAX = 48
_TEXT_BEYOND_ASCII = "©«°±´·»‘’“”…‹›⁄™"  # what the font that ships with Pillow can draw beside ASCII
_TEXT_PATTERN = rf"^[ -~{_TEXT_BEYOND_ASCII}]{{1,{TEXT_MAX}}}$"


def canonical_colour(value: str) -> str:
    """``#ff0000``, ``f00`` and ``red`` -> ``red``; ``#1a2b3c`` -> ``1a2b3c``. Raises ValueError otherwise."""
    if value in COLOURS:
        return value
    match = _HEX.fullmatch(value)
    if match is None:
        raise ValueError(f"'{value}' is not a colour: use rrggbb, rgb or one of {', '.join(COLOURS)}")
    code = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
    return _NAMES.get(code, code)


def rgb(colour: str) -> tuple[int, int, int]:
    """The 8-bit sRGB triple of a colour as written in a parameter."""
    code = COLOURS.get(name := canonical_colour(colour), name)
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def canonical_aspect(value: str) -> str:
    """``32x18`` -> ``16x9``. Raises ValueError unless it is two whole numbers of 1..100."""
    if re.fullmatch(_ASPECT_PATTERN, value, re.ASCII) is None:
        raise ValueError(f"'{value}' is not an aspect ratio: write it as 16x9, both sides 1 to 100")
    width, height = (int(part) for part in value.split("x"))
    common = math.gcd(width, height)
    return f"{width // common}x{height // common}"


def ratio(aspect: str) -> float:
    """Width divided by height of an aspect parameter."""
    width, height = aspect.split("x")
    return int(width) / int(height)


def canonical_text(value: str) -> str:
    """NFC, runs of space folded to one, none at either end. Raises ValueError for what cannot be drawn."""
    text = " ".join(unicodedata.normalize("NFC", value).split())
    if re.fullmatch(_TEXT_PATTERN, text) is None:
        raise ValueError(
            f"text is 1 to {TEXT_MAX} characters of ASCII or {_TEXT_BEYOND_ASCII}, all that the font has"
        )
    return text


def one_decimal(value: float) -> float:
    """Refuse a number that has more than one decimal."""
    rounded = round(value, 1)
    if not math.isclose(value, rounded, abs_tol=1e-9):
        raise ValueError("at most one decimal")
    return rounded + 0.0  # -0.0 becomes 0.0


Colour = Annotated[
    str,
    Field(json_schema_extra={"format": "color", "pattern": _COLOUR_PATTERN}),
    AfterValidator(canonical_colour),
]
Aspect = Annotated[
    str, Field(json_schema_extra={"pattern": _ASPECT_PATTERN}), AfterValidator(canonical_aspect)
]
Tenth = Annotated[float, Field(json_schema_extra={"multipleOf": 0.1}), AfterValidator(one_decimal)]


class Escaped:
    """Marks a text parameter whose value is written through :func:`escape`."""


Text = Annotated[
    str,
    Escaped(),
    Field(
        min_length=1,
        max_length=TEXT_MAX,
        json_schema_extra={"format": "escaped-text", "pattern": _TEXT_PATTERN},
    ),
    AfterValidator(canonical_text),
]


class Reference:
    """Marks a parameter whose value is the digest of an input document."""


def checked_digest(value: str) -> str:
    """Raises ValueError unless it is the sha256 of an input document, as POST /inputs answers it."""
    if re.fullmatch(r"[0-9a-f]{64}", value, re.ASCII) is None:
        raise ValueError("write the digest of an input document, 64 hex digits, which POST /inputs answers")
    return value


InputDigest = Annotated[
    str,
    Reference(),
    Field(json_schema_extra={"format": "input-document", "pattern": "^[0-9a-f]{64}$"}),
    AfterValidator(checked_digest),
]

Gravity = Literal[
    "northwest", "north", "northeast", "west", "center", "east", "southwest", "south", "southeast"
]


def escape(text: str) -> str:
    """Write any text in the alphabet of an op_key; the inverse of :func:`unescape`.

    ``a-z 0-9 . -`` stand for themselves, ``_a`` .. ``_z`` for capitals, ``__`` for a space, and ``_.hex.``
    for any other character by its code point: ``Darkroom © 24`` is ``_darkroom___.a9.__24``.
    """
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    if re.fullmatch(r"[a-z0-9.-]", character, re.ASCII):
        return character
    if re.fullmatch(r"[A-Z]", character, re.ASCII):
        return f"_{character.lower()}"
    return "__" if character == " " else f"_.{ord(character):x}."


_ESCAPED = re.compile(r"([a-z0-9.-])|_([a-z])|(__)|_\.([0-9a-f]{1,6})\.", re.ASCII)


def unescape(value: str) -> str:
    """Read text written by :func:`escape`. Raises ValueError when it was not."""
    characters = []
    position = 0
    while position < len(value):
        match = _ESCAPED.match(value, position)
        if match is None:
            rest = value[position : position + 8]
            raise ValueError(f"'{rest}' is not escaped text: a capital is _a, a space __, others _.hex.")
        plain, capital, space, code = match.groups()
        if code and int(code, 16) > 0x10FFFF:
            raise ValueError(f"{code} is not a code point")
        characters.append(plain or (capital or "").upper() or (" " if space else chr(int(code, 16))))
        position = match.end()
    return "".join(characters)


def decode(field: FieldInfo, value: str) -> object:
    """The text of a value in an op_key -> what the field's validator takes. Raises ValueError."""
    if value in _words(field):
        return value
    kind = _kind(field)
    if kind is bool:
        if value not in {"true", "false"}:
            raise ValueError(f"'{value}' is neither true nor false")
        return value == "true"
    if kind in {int, float}:
        if _NUMBER.fullmatch(value) is None:
            raise ValueError(f"'{value}' is not " + " or ".join(["a number", *_words(field)]))
        number = float(value)
        if kind is float:
            return number
        if not number.is_integer():
            raise ValueError(f"'{value}' is not a whole number")
        return int(number)
    return unescape(value) if _is_escaped(field) else value


def encode(field: FieldInfo, value: object) -> str:
    """A validated value -> its canonical text in an op_key."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value)) if _is_escaped(field) else str(value)


def is_reference(field: FieldInfo) -> bool:
    """Whether a field's value is the digest of an input document."""
    members = [field, *get_args(field.annotation)]
    return any(
        isinstance(entry, Reference)
        for member in members
        for entry in getattr(member, "metadata", getattr(member, "__metadata__", ()))
    )


def _is_escaped(field: FieldInfo) -> bool:
    return any(isinstance(entry, Escaped) for entry in field.metadata)


def _members(annotation: object) -> list[object]:
    """The types that an annotation lets pass, without `None` and `Annotated`."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [kind for member in get_args(annotation) for kind in _members(member)]
    return [] if annotation is type(None) else [annotation]


def _words(field: FieldInfo) -> list[str]:
    """What a number may be beside one: `auto` of `int | Literal["auto"]`."""
    return [
        str(word)
        for kind in _members(field.annotation)[1:]
        if get_origin(kind) is Literal
        for word in get_args(kind)
    ]


def _kind(field: FieldInfo) -> object:
    """The bare type of a field, the first where it takes several; of a choice, that of its members."""
    kind = _members(field.annotation)[0]
    return type(get_args(kind)[0]) if get_origin(kind) is Literal else kind

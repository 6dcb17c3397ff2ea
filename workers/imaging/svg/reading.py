"""Parsing an SVG document under limits: no external entity, no depth, no flood of elements gets further."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET
from xml.parsers import expat

import webencodings

from workers.pixel_errors import PixelError

SVG: Final = "{http://www.w3.org/2000/svg}"
XLINK: Final = "{http://www.w3.org/1999/xlink}"
XML: Final = "{http://www.w3.org/XML/1998/namespace}"
HREFS: Final = ("href", f"{XLINK}href")
"""Attributes that refer to an element or a picture; the first wins."""
MAX_DEPTH: Final = 100
MAX_ELEMENTS: Final = 100_000
MAX_ENTITIES: Final = 1000
MAX_EXPANSION: Final = 1024 * 1024
"""Characters that the references to the document's own entities may come to."""

_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")
_ENTITY: Final = re.compile(r"&([^#&;\s][^&;\s]*);")

ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", XLINK[1:-1])


def corrupt(reason: str) -> PixelError:
    return PixelError("corrupt_image", f"The drawing cannot be used: {reason}.")


def read(data: bytes, *, root_only: bool = False) -> ET.Element:
    """The element tree of an SVG document; of its root alone, where only the size is asked for.

    Names come as {namespace}local; comments, processing instructions and the doctype are left out, entities that the
    document itself declares are replaced. Raises PixelError corrupt_image.
    """
    text = decoded(data)
    reader = _Reader(text, root_only)
    try:
        reader.parser.Parse(text, True)
    except _Enough:
        pass
    except expat.ExpatError as error:
        raise corrupt(f"line {error.lineno}: {expat.ErrorString(error.code)}") from error
    except ValueError as error:  # a surrogate, a NUL
        raise corrupt("it holds characters that XML does not allow") from error
    if reader.root is None or reader.root.tag != f"{SVG}svg":
        raise corrupt("its root is not an svg element in the SVG namespace")
    return reader.root


def decoded(data: bytes) -> str:
    """The text of a document: by its byte order mark, else by the encoding that it declares, else as UTF-8.

    Labels mean what they mean to browsers (WHATWG Encoding). Raises PixelError corrupt_image.
    """
    label = "utf-8"
    if data.startswith((b"<\0", b"\0<")):
        label = "utf-16le" if data[1] == 0 else "utf-16be"
    elif declared := _DECLARED.match(data[:1024]):
        label = declared[1].decode("ascii")
    encoding = webencodings.lookup(label)
    if encoding is None or (encoding.name.startswith("utf-16") and b"\0" not in data[:4]):
        encoding = webencodings.UTF8  # what declares UTF-16 in single bytes is not
    try:
        text, _ = webencodings.decode(data, encoding, errors="strict")
    except UnicodeError as error:
        raise corrupt("its characters are not in the encoding that it declares: save it as UTF-8") from error
    return str(text).lstrip("\ufeff \t\r\n")


class _Enough(Exception):
    """The root has been read."""


class _Reader:
    """Expat's events as a tree, under limits."""

    def __init__(self, text: str, root_only: bool) -> None:
        self.root: ET.Element | None = None
        self._source = text
        self._root_only = root_only
        self._open: list[ET.Element] = []
        self._count = 0
        self._left = len(text) + 8 * MAX_EXPANSION
        self._entities: dict[str, int] = {}
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._entity
        self.parser.EndDoctypeDeclHandler = self._check_expansion
        self.parser.SkippedEntityHandler = self._skipped

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise corrupt(f"it has more than {MAX_ELEMENTS} elements")
        if len(self._open) >= MAX_DEPTH:
            raise corrupt(f"its elements are nested more than {MAX_DEPTH} deep")
        self._spend(
            sum(map(len, attributes.values()))
        )  # a doctype's default attributes count at every element
        element = ET.Element(_name(name), {_name(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1].append(element)
        else:
            self.root = element
            if self._root_only:
                raise _Enough
        self._open.append(element)

    def _spend(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise corrupt("its entities multiply: save it again without them")

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._spend(len(text))
        parent = self._open[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + text
        else:
            parent.text = (parent.text or "") + text

    def _entity(self, name: str, parameter: bool, value: str | None, *_external: object) -> None:
        """Note how long an entity is with the entities in it. One may only refer to those declared before it."""
        if parameter or value is None:
            raise corrupt("it refers to entities in other files: save it again without them")
        if len(self._entities) >= MAX_ENTITIES:
            raise corrupt(f"it declares more than {MAX_ENTITIES} entities")
        length = len(value) + sum(self._entities.get(found, MAX_EXPANSION) for found in _general(value))
        if length > MAX_EXPANSION:
            raise corrupt("its entities multiply: save it again without them")
        self._entities.setdefault(name, length)

    def _check_expansion(self) -> None:
        """Refuse what grows before it grows: counted over the whole text, where a comment's references count too."""
        if not self._entities:
            return
        total = sum(self._entities.get(name, 0) for name in _general(self._source))
        if total > MAX_EXPANSION:
            raise corrupt("its entities multiply: save it again without them")

    def _skipped(self, name: str, _parameter: bool) -> None:
        raise corrupt(f"it uses the entity &{name}; without declaring it")


_PREDEFINED: Final = frozenset({"amp", "lt", "gt", "quot", "apos"})


def _general(text: str) -> list[str]:
    return [name for name in _ENTITY.findall(text) if name not in _PREDEFINED]


def _name(name: str) -> str:
    return "{" + name if "}" in name else name

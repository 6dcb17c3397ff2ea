"""Style sheets, style attributes and presentation attributes of a drawing, replaced by what wins of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from xml.etree import ElementTree as ET

import tinycss2
from cssselect2 import ElementWrapper

from workers.imaging.svg.cascade import Cascade, Custom, cascade_of, refers
from workers.imaging.svg.properties import CSS_ONLY, GEOMETRY, INITIAL, PRESENTATION, converted
from workers.imaging.svg.reading import HREFS, MAX_ELEMENTS, SVG, XML, corrupt
from workers.imaging.svg.size import view_box
from workers.imaging.svg.transforms import (
    IDENTITY,
    Box,
    Matrix,
    about,
    attribute_matrix,
    css_matrix,
    fill_box,
    matrix_text,
    origin,
    times,
)
from workers.imaging.svg.values import Tokens, Viewport, colour, ident, number_text, parsed, pixels, words

_TRANSFORMS: Final = {
    "linearGradient": "gradientTransform",
    "radialGradient": "gradientTransform",
    "pattern": "patternTransform",
}
_FONT_SIZES: Final = {
    "xx-small": 9,
    "x-small": 10,
    "small": 13,
    "medium": 16,
    "large": 18,
    "x-large": 24,
    "xx-large": 32,
    "xxx-large": 48,
}
_STYLED: Final = frozenset({*PRESENTATION, *GEOMETRY, *CSS_ONLY})
_MAX_CHAIN: Final = 20
"""Instances of instances of elements whose style variables depend on where they are used."""


def style(root: ET.Element, viewport: Viewport) -> str | None:
    """Write what wins of all styles into attributes that resvg reads, in place. Returns the colour of the root's
    background, which browsers paint behind the drawing. Raises PixelError corrupt_image, unsupported_type."""
    styler = _Styler(root, viewport, cascade_of(root, viewport))
    styler.walk(ElementWrapper.from_xml_root(root), root, {}, viewport.em)
    styler.instantiate()
    # Selectors look at attributes: none may change before all are matched.
    for element, declared, outer in styler.styled:
        _apply(element, declared, outer)
    box = view_box(root) or (0.0, 0.0, viewport.width, viewport.height)
    for element, declared, _ in reversed(
        styler.styled
    ):  # from the inside out: boxes of groups need their children
        _move(element, declared, box)
    _transform_text(root, "none")
    return _background(styler.styled[0][1])


@dataclass(frozen=True)
class _Declared:
    """The candidates of one element, references replaced when they are asked for. viewport: with the element's em."""

    cascade: Cascade
    candidates: Mapping[str, list[Tokens]]
    custom: Custom
    viewport: Viewport

    def values(self, name: str) -> list[Tokens]:
        """Values from the one that wins on; empty from one whose references have no value, as CSS asks."""
        made = []
        for tokens in self.candidates.get(name, []):
            value = self.cascade.substituted(tokens, self.custom)
            if value is None:
                break
            made.append(value)
        return made


@dataclass
class _Styler:
    """Finds what is declared for every element, and makes copies of used elements whose variables differ by use."""

    root: ET.Element
    viewport: Viewport
    cascade: Cascade
    styled: list[tuple[ET.Element, _Declared, Viewport]] = field(default_factory=list)
    _wrappers: dict[str, ElementWrapper] = field(default_factory=dict)
    _inherited: dict[ET.Element, Custom] = field(default_factory=dict)
    _uses: list[tuple[ET.Element, Custom, float, int]] = field(default_factory=list)
    _varying: set[ET.Element] = field(default_factory=set)
    _copied: int = 0

    def walk(
        self, wrapper: ElementWrapper, element: ET.Element, inherited: Custom, em: float, chain: int = 0
    ) -> None:
        """Collect an element and those in it. wrapper: the original that selectors match; element: it or its copy."""
        candidates = self.cascade.candidates(wrapper)
        custom = self.cascade.custom(candidates, inherited)
        outer = replace(self.viewport, em=em)
        declared = _Declared(self.cascade, candidates, custom, outer)
        size = _font_size(declared) or em
        declared = replace(declared, viewport=replace(outer, em=size))
        self.styled.append((element, declared, outer))
        if element is wrapper.etree_element:
            self._inherited[element] = inherited
            if found := element.get("id"):
                self._wrappers.setdefault(found, wrapper)
            if any(refers(tokens) for values in candidates.values() for tokens in values):
                self._varying.add(element)
        if element.tag == f"{SVG}use":
            self._uses.append((element, custom, size, chain))
        for child, inner in zip(list(wrapper.iter_children()), list(element), strict=True):
            self.walk(child, inner, custom, size, chain)

    def instantiate(self) -> None:
        """Give every `use` whose variables differ from those around the original a copy of its own to show."""
        definitions: ET.Element | None = None
        while self._uses:
            use, custom, em, chain = self._uses.pop()
            key = next((name for name in HREFS if name in use.attrib), "")
            wrapper = self._wrappers.get(use.get(key, "").removeprefix("#"))
            if wrapper is None or chain > _MAX_CHAIN:
                continue
            original = wrapper.etree_element
            inside = list(original.iter())
            if custom == self._inherited[original] or not self._varying.intersection(inside):
                continue
            self._copied += len(inside)
            if self._copied > MAX_ELEMENTS:
                raise corrupt("its references multiply")
            made = copy.deepcopy(original)
            for element in made.iter():
                element.attrib.pop("id", None)
            made.set("id", f"darkroom-use-{self._copied}")
            use.set(key, f"#{made.get('id')}")
            if definitions is None:
                definitions = ET.SubElement(self.root, f"{SVG}defs")
            definitions.append(made)
            self.walk(wrapper, made, custom, em, chain + 1)


def _font_size(declared: _Declared) -> float | None:
    """In pixels; None where it is inherited."""
    em = declared.viewport.em
    for tokens in declared.values("font-size"):
        word = ident(tokens)
        if word in _FONT_SIZES:
            return float(_FONT_SIZES[word])
        if word in {"larger", "smaller"}:
            return em * 1.2 if word == "larger" else em / 1.2
        if word == "initial":
            return 16.0
        if word:
            return None
        found = words(tokens)
        size = pixels(found[0], declared.viewport, whole=em) if len(found) == 1 else None
        if size is not None and size >= 0:
            return size
    return None


def _apply(element: ET.Element, declared: _Declared, outer: Viewport) -> None:
    name = element.tag.removeprefix(SVG)
    found: dict[str, str] = {}
    for prop in declared.candidates:
        if prop in _STYLED and (value := _winner(prop, declared, name)) is not None:
            found[prop] = value
    if "font-size" in declared.candidates and declared.viewport.em != outer.em:
        found["font-size"] = number_text(declared.viewport.em)
    for key in [key for key in element.attrib if key in PRESENTATION or key in CSS_ONLY]:
        del element.attrib[key]
    for key in ("style", "class"):
        element.attrib.pop(key, None)
    element.attrib |= {key: value for key, value in found.items() if key not in CSS_ONLY}
    if group := ";".join(f"{key}:{found[key]}" for key in ("mix-blend-mode", "isolation") if key in found):
        element.set("style", group)
    if "white-space" in found:
        kept = found["white-space"].startswith(("pre", "break"))
        element.set(f"{XML}space", "preserve" if kept else "default")
    if "text-transform" in found:
        element.set("text-transform", found["text-transform"])


def _winner(prop: str, declared: _Declared, element: str) -> str | None:
    for tokens in declared.values(prop):
        word = ident(tokens)
        if word in {"initial", "revert", "revert-layer", "unset"}:
            return INITIAL.get(prop) if word == "initial" else None
        if (value := converted(prop, tokens, element, declared.viewport)) is not None:
            return value
    return None


def _move(element: ET.Element, declared: _Declared, box: Box) -> None:
    """Write transform, its single properties and its origin as the one attribute that resvg reads."""
    key = _TRANSFORMS.get(element.tag.removeprefix(SVG), "transform")
    origins = declared.values("transform-origin")
    if given := element.attrib.pop("transform-origin", None):
        origins = [*origins, parsed(given)]
    if not (origins or {"transform", "translate", "rotate", "scale"} & declared.candidates.keys()):
        return
    matrix = _matrix(element.get(key, ""), declared, box)
    if matrix != IDENTITY and any(
        ident(tokens) in {"fill-box", "content-box"} for tokens in declared.values("transform-box")[:1]
    ):
        box = fill_box(element)
        matrix = _matrix(element.get(key, ""), declared, box)
    point = next(
        (at for tokens in origins if (at := origin(tokens, declared.viewport, box)) is not None), None
    )
    if point and matrix != IDENTITY:
        matrix = about(point, matrix)
    element.attrib.pop(key, None)
    if matrix != IDENTITY:
        element.set(key, matrix_text(matrix))


def _matrix(attribute: str, declared: _Declared, box: Box) -> Matrix:
    """translate, rotate, scale and transform, in this order. attribute: the transform where CSS declares none."""
    made = IDENTITY
    for prop in ("translate", "rotate", "scale"):
        for tokens in declared.values(prop):
            text = ",".join(tinycss2.serialize([token]) for token in words(tokens))
            value = parsed("none" if text == "none" else f"{prop}({text})")
            if (matrix := css_matrix(value, declared.viewport, box)) is not None:
                made = times(made, matrix)
                break
    for tokens in declared.values("transform"):
        if (matrix := css_matrix(tokens, declared.viewport, box)) is not None:
            return times(made, matrix)
    return times(made, attribute_matrix(attribute) or IDENTITY)


def _background(declared: _Declared) -> str | None:
    values = [*declared.values("background-color"), *declared.values("background")]
    return next((found for tokens in values for token in words(tokens) if (found := colour([token]))), None)


_CASES: Final = {"uppercase": str.upper, "lowercase": str.lower, "capitalize": str.title}


def _transform_text(element: ET.Element, inherited: str) -> None:
    """Apply text-transform, which resvg does not know, to the text itself."""
    case = element.attrib.pop("text-transform", inherited)
    case = inherited if case == "inherit" else case
    if change := _CASES.get(case):
        element.text = change(element.text or "")
    for child in element:
        _transform_text(child, case)
        if change:
            child.tail = change(child.tail or "")

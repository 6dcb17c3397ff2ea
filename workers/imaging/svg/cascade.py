"""The cascade of a drawing: which declarations apply to an element, and which wins.

Selectors are matched by cssselect2, values stay the component values of tinycss2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cssselect2
import tinycss2
from cssselect2 import ElementWrapper

from workers.imaging.svg import media
from workers.imaging.svg.css import check_nested
from workers.imaging.svg.properties import PRESENTATION, is_property
from workers.imaging.svg.reading import SVG, corrupt
from workers.imaging.svg.values import Tokens, Viewport, commas, parsed, trimmed, words

Custom = Mapping[str, Tokens]
"""Custom properties (`--name`) with their values, references replaced."""
MAX_TOKENS: Final = 100_000
"""Component values that the references of one drawing to custom properties may come to."""
MAX_STEPS: Final = 20_000_000
"""Selectors that are tried, times the elements that they are tried on."""
_MATCH: Final = 10
"""Steps for one that matches, and for each of its declarations."""
_UNLAYERED: Final = 1_000_000
_FONT_KEYWORDS: Final = {
    "font-style": frozenset({"italic", "oblique"}),
    "font-variant": frozenset({"small-caps"}),
    "font-weight": frozenset({"bold", "bolder", "lighter"}),
    "font-stretch": frozenset(
        f"{how}{name}" for name in ("condensed", "expanded") for how in ("ultra-", "extra-", "semi-", "")
    ),
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """The declarations of one rule: (property, value, important)."""

    layer: int
    declarations: tuple[tuple[str, Tokens, bool], ...]


@dataclass
class Cascade:
    """The style sheets of one document, ready to be asked about its elements."""

    viewport: Viewport
    _matcher: Any = field(default_factory=cssselect2.Matcher)
    _layers: dict[str, int] = field(default_factory=dict)
    _tokens: int = 0
    _selectors: int = 0
    _steps: int = 0

    def add(self, sheet: str) -> None:
        self._add(tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True), _UNLAYERED)

    def _add(self, nodes: Iterable[Any], layer: int) -> None:
        for node in nodes:
            if node.type == "qualified-rule":
                self._rule(node, layer)
            elif node.type == "at-rule" and node.content is not None:
                inner = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
                match node.lower_at_keyword:
                    case "media" if media.matches(node.prelude, self.viewport):
                        self._add(inner, layer)
                    case "supports" if media.supported(node.prelude, _understood):
                        self._add(inner, layer)
                    case "layer":
                        self._add(inner, self._layer(node.prelude))
            elif node.type == "at-rule" and node.lower_at_keyword == "layer":
                for name in commas(node.prelude):
                    self._layer(name)

    def _layer(self, name: Tokens) -> int:
        text = tinycss2.serialize(name).strip() or f" {len(self._layers)}"
        return self._layers.setdefault(text, len(self._layers))

    def _rule(self, node: Any, layer: int) -> None:
        try:
            selectors = cssselect2.compile_selector_list(node.prelude)
        except cssselect2.SelectorError:
            return  # as browsers do: the whole rule is dropped
        rule = _Rule(layer, tuple(_declarations(node.content)))
        for selector in selectors:
            if selector.pseudo_element is None:
                self._matcher.add_selector(selector, rule)
                self._selectors += 1

    def candidates(self, element: ElementWrapper) -> dict[str, list[Tokens]]:
        """What is declared for an element: property -> values, the one that wins first.

        Raises PixelError corrupt_image where there are too many rules for as many elements.
        """
        found: list[tuple[tuple[Any, ...], str, Tokens]] = []
        xml = element.etree_element
        for name, value in xml.attrib.items():
            if name in PRESENTATION:
                for longhand, tokens in _longhands(name, parsed(value)):
                    found.append(((0,), longhand, tokens))
        self._spend(self._selectors)
        for specificity, order, _, rule in self._matcher.match(element):
            self._spend(_MATCH * (1 + len(rule.declarations)))
            for longhand, tokens, important in rule.declarations:
                rank = (3, -rule.layer) if important else (1, rule.layer)
                found.append(((*rank, specificity, order), longhand, tokens))
        for longhand, tokens, important in _declarations(xml.get("style", "")):
            found.append(((4 if important else 2,), longhand, tokens))
        found.sort(key=lambda entry: entry[0])
        by_property: dict[str, list[Tokens]] = {}
        for _, name, tokens in reversed(found):
            by_property.setdefault(name, []).append(tokens)
        return by_property

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise corrupt("it has too many style rules for its elements")

    def custom(self, candidates: Mapping[str, list[Tokens]], inherited: Custom) -> Custom:
        """The custom properties of an element."""
        own = {name: values[0] for name, values in candidates.items() if name.startswith("--")}
        if not own:
            return inherited
        made: dict[str, Tokens] = {name: tokens for name, tokens in inherited.items() if name not in own}
        for name in own:
            self._settle(name, own, made, inherited, ())
        return made

    def _settle(
        self,
        name: str,
        own: Mapping[str, Tokens],
        made: dict[str, Tokens],
        inherited: Custom,
        above: tuple[str, ...],
    ) -> None:
        if name in made or name not in own or name in above or len(above) > 100:
            return
        for wanted in _referred(own[name]):
            self._settle(wanted, own, made, inherited, (*above, name))
        [*keyword] = words(own[name])
        plain = keyword[0].lower_value if len(keyword) == 1 and keyword[0].type == "ident" else ""
        if plain in {"inherit", "unset", "revert"}:
            if name in inherited:
                made[name] = inherited[name]
        elif plain != "initial" and (value := self.substituted(own[name], made)) is not None:
            made[name] = value

    def substituted(self, tokens: Tokens, custom: Custom) -> Tokens | None:
        """A value with every var() replaced; None where one has neither a value nor a fallback.

        Raises PixelError corrupt_image where references multiply.
        """
        made: list[Any] = []
        for token in tokens:
            if token.type == "function" and token.lower_name in {"var", "env"}:
                value = self._variable(token, custom)
                if value is None:
                    return None
                made += value
            elif hasattr(token, "arguments") or hasattr(token, "content"):
                inner = self.substituted(_inside(token), custom)
                if inner is None:
                    return None
                made.append(_with_inside(token, inner))
            else:
                made.append(token)
        return made

    def _variable(self, token: Any, custom: Custom) -> Tokens | None:
        name, *fallback = _split_first_comma(token.arguments)
        [*found] = words(name)
        value = custom.get(found[0].value) if len(found) == 1 and found[0].type == "ident" else None
        if value is None and fallback:
            value = self.substituted(trimmed(fallback[0]), custom)
        if value is not None:
            check_nested(value)
            self._tokens += 1 + _weight(value)
            if self._tokens > MAX_TOKENS:
                raise corrupt("its style variables multiply")
        return value


def sheets(root: Any) -> list[tuple[str, str]]:
    """(text, media query) of the style elements of a document that hold CSS."""
    return [
        (element.text or "", element.get("media", ""))
        for element in root.iter(f"{SVG}style")
        if element.get("type", "text/css").strip().lower() in {"", "text/css"}
    ]


def cascade_of(root: Any, viewport: Viewport) -> Cascade:
    made = Cascade(viewport)
    for text, query in sheets(root):
        if media.matches(parsed(query), viewport):
            made.add(text)
    return made


def _understood(declaration: Tokens) -> bool:
    node = tinycss2.parse_one_declaration(declaration, skip_comments=True)
    return bool(node.type == "declaration" and is_property(node.lower_name))


def _declarations(source: Any) -> Iterable[tuple[str, Tokens, bool]]:
    for node in tinycss2.parse_blocks_contents(source, skip_comments=True, skip_whitespace=True):
        if node.type != "declaration":
            continue
        name = node.name if node.name.startswith("--") else node.lower_name
        for longhand, tokens in _longhands(name, trimmed(node.value)):
            yield longhand, tokens, node.important


def _longhands(name: str, tokens: Tokens) -> Iterable[tuple[str, Tokens]]:
    """A declaration as those that it stands for. What has a var() in it is expanded as if it had none."""
    if name == "marker":
        for end in ("start", "mid", "end"):
            yield f"marker-{end}", tokens
    elif name == "font":
        yield from _font(words(tokens))
    elif name == "mask-image":
        yield "mask", tokens
    elif name == "text-decoration-line":
        yield "text-decoration", tokens
    else:
        yield name.removeprefix("-webkit-"), tokens


def _font(tokens: Tokens) -> Iterable[tuple[str, Tokens]]:
    """`font: [style|variant|weight|stretch]* size[/line-height] family`, with the rest set back to normal."""
    normal = parsed("normal")
    found = dict.fromkeys(_FONT_KEYWORDS, normal)
    at = 0
    for at, token in enumerate(tokens):  # noqa: B007
        word = token.lower_value if token.type == "ident" else ""
        named = next((name for name, known in _FONT_KEYWORDS.items() if word in known), None)
        if named:
            found[named] = [token]
        elif token.type == "number" and token.value >= 1:
            found["font-weight"] = [token]
        elif word != "normal":
            break
    size, family = tokens[at : at + 1], list(tokens[at + 1 :])
    if family and family[0].type == "literal" and family[0].value == "/":
        family = family[2:]
    if not size or not family:
        return
    yield from found.items()
    yield "font-size", size
    yield "font-family", _spaced(family)


def _spaced(tokens: Tokens) -> Tokens:
    space = parsed("a b")[1]
    return [part for token in tokens for part in (token, space)][:-1]


def _inside(token: Any) -> Tokens:
    found: Tokens = token.arguments if token.type == "function" else token.content
    return found


def _with_inside(token: Any, inner: Tokens) -> Any:
    if token.type == "function":
        return tinycss2.ast.FunctionBlock(token.source_line, token.source_column, token.name, inner)
    return type(token)(token.source_line, token.source_column, inner)


def _split_first_comma(tokens: Tokens) -> list[Tokens]:
    for at, token in enumerate(tokens):
        if token.type == "literal" and token.value == ",":
            return [tokens[:at], tokens[at + 1 :]]
    return [tokens]


def _referred(tokens: Tokens) -> Iterable[str]:
    """Names of the custom properties that a value refers to."""
    for token in tokens:
        if token.type == "function" and token.lower_name == "var":
            yield from (part.value for part in words(token.arguments)[:1] if part.type == "ident")
        if hasattr(token, "arguments") or hasattr(token, "content"):
            yield from _referred(_inside(token))


def refers(tokens: Tokens) -> bool:
    return next(iter(_referred(tokens)), None) is not None


def _weight(tokens: Tokens) -> int:
    return sum(
        1 + (_weight(_inside(token)) if hasattr(token, "arguments") or hasattr(token, "content") else 0)
        for token in tokens
    )

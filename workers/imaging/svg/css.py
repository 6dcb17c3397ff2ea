"""Style rules and values of a drawing, without anything that leads out of it. Parsed by tinycss2, never by pattern:
escapes, comments and broken strings are what hides a URL from a pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import tinycss2
from tinycss2.ast import AtRule, Declaration, QualifiedRule

from workers.imaging.svg.reading import corrupt

_FUNCTIONS: Final = frozenset(
    [
        "rgb",
        "rgba",
        "hsl",
        "hsla",
        "hwb",
        "lab",
        "lch",
        "oklab",
        "oklch",
        "color",
        "color-mix",
        "light-dark",
        "calc",
        "min",
        "max",
        "clamp",
        "abs",
        "sign",
        "round",
        "var",
        "env",
        "matrix",
        "matrix3d",
        "translate",
        "translatex",
        "translatey",
        "translatez",
        "translate3d",
        "scale",
        "scalex",
        "scaley",
        "scalez",
        "scale3d",
        "rotate",
        "rotatex",
        "rotatey",
        "rotatez",
        "rotate3d",
        "skew",
        "skewx",
        "skewy",
        "perspective",
        "blur",
        "brightness",
        "contrast",
        "drop-shadow",
        "grayscale",
        "hue-rotate",
        "invert",
        "opacity",
        "saturate",
        "sepia",
        "polygon",
        "circle",
        "ellipse",
        "inset",
        "path",
        "rect",
        "xywh",
        "cubic-bezier",
        "steps",
        "linear",
        "linear-gradient",
        "radial-gradient",
        "conic-gradient",
        "repeating-linear-gradient",
        "repeating-radial-gradient",
    ]
)
"""What a value may call. None of these loads anything; `url` is judged by where it leads."""
_MAX_SELECTOR: Final = 10_000
"""Characters; nested rules that name their parent several times multiply."""
MAX_NESTED: Final = 32
"""Brackets, functions and blocks inside one another; nobody writes ten."""
_GROUPS: Final = frozenset({"media", "supports", "layer"})


def check_nested(value: str | Iterable[Any]) -> None:
    """Refuse a value or a style sheet, as text or as component values, that would exhaust the stack of whoever walks
    through it. Raises PixelError corrupt_image."""
    if isinstance(value, str):
        if sum(map(value.count, "([{")) <= MAX_NESTED:
            return
        value = tinycss2.parse_component_value_list(value)
    level = list(value)
    for _ in range(MAX_NESTED + 1):
        level = [
            inner
            for token in level
            for inner in getattr(token, "arguments", None) or getattr(token, "content", None) or ()
        ]
        if not level:
            return
    raise corrupt("its styles are nested too deep")


def is_inside(value: str) -> bool:
    """Whether an attribute's value, read as CSS, refers to nothing but this document (`url(#id)`)."""
    return _inside(tinycss2.parse_component_value_list(value))


def clean_declarations(style: str) -> str:
    """The content of a style attribute, without declarations that leave the document."""
    return _declarations(tinycss2.parse_blocks_contents(style, skip_comments=True, skip_whitespace=True))


def clean_sheet(sheet: str) -> str:
    """A style sheet reduced to plain rules, also inside @media, @supports and @layer: no @import, no @font-face, no
    outside URL."""
    return _rules(tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True))


def brings_font(sheet: str) -> bool:
    """Whether a style sheet has a font in it: an @font-face whose source is a data: URL."""
    nodes = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    return any(
        isinstance(node, AtRule) and node.lower_at_keyword == "font-face" and _has_data(node.content or ())
        for node in nodes
    )


def _has_data(nodes: Iterable[Any]) -> bool:
    for node in nodes:
        target = node.value if node.type in {"url", "string"} else ""
        if str(target).strip().lower().startswith("data:"):
            return True
        if node.type == "function" and _has_data(node.arguments):
            return True
    return False


def _rules(nodes: Iterable[Any], parent: str = "") -> str:
    """Rules as text, nested ones (`a { &:not(b) { … } }`) written out as rules of their own."""
    kept = []
    for node in nodes:
        if isinstance(node, QualifiedRule) and "\\" not in (prelude := tinycss2.serialize(node.prelude)):
            selector = _nested(node.prelude, parent) if parent else prelude.strip()
            if len(selector) > _MAX_SELECTOR:
                continue
            check_nested(selector)
            body = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
            kept.append(f"{selector}{{{_declarations(body)}}}")
            kept += filter(
                None, [_rules((part for part in body if not isinstance(part, Declaration)), selector)]
            )
        elif isinstance(node, AtRule) and node.lower_at_keyword in _GROUPS and _inside(node.prelude):
            kept += filter(None, [_group(node, parent)])
    return "\n".join(kept)


def _group(node: AtRule, parent: str) -> str:
    head = f"@{node.lower_at_keyword} {tinycss2.serialize(node.prelude).strip()}"
    if node.content is None:
        return f"{head};"
    if not parent:
        inner = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
        return f"{head}{{{_rules(inner)}}}"
    body = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
    rules = _rules((part for part in body if not isinstance(part, Declaration)), parent)
    return f"{head}{{{parent}{{{_declarations(body)}}}\n{rules}}}"


def _nested(prelude: list[Any], parent: str) -> str:
    parts, own = [""], [False]
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            parts.append("")
            own.append(False)
        elif token.type == "literal" and token.value == "&":
            parts[-1] += f":is({parent})"
            own[-1] = True
        else:
            parts[-1] += tinycss2.serialize([token])
    return ",".join(
        part.strip() if named else f":is({parent}) {part.strip()}"
        for part, named in zip(parts, own, strict=True)
    )


def _declarations(nodes: Iterable[Any]) -> str:
    return ";".join(
        node.serialize() for node in nodes if isinstance(node, Declaration) and _inside(node.value)
    )


def _inside(nodes: Iterable[Any]) -> bool:
    return all(_harmless(node) for node in nodes)


def _harmless(node: Any) -> bool:
    match node.type:
        case "error":
            return False
        case "url":
            return bool(node.value.startswith("#"))
        case "function" if node.lower_name == "url":
            [*targets] = (child for child in node.arguments if child.type != "whitespace")
            return len(targets) == 1 and targets[0].type == "string" and targets[0].value.startswith("#")
        case "function":
            return node.lower_name in _FUNCTIONS and _inside(node.arguments)
        case "() block" | "[] block" | "{} block":
            return _inside(node.content)
        case _:
            return True

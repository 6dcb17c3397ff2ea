"""Style rules and values of a drawing, without anything that leads out of it. Parsed by tinycss2, never by pattern:
escapes, comments and broken strings are what hides a URL from a pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import tinycss2
from tinycss2.ast import AtRule, Declaration, QualifiedRule

_FUNCTIONS: Final = frozenset(
    {
        *(
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
            "calc",
            "min",
            "max",
            "clamp",
        ),
        *(
            "var",
            "matrix",
            "translate",
            "translatex",
            "translatey",
            "scale",
            "scalex",
            "scaley",
            "rotate",
            "skew",
            "skewx",
        ),
        *(
            "skewy",
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
        ),
        *("polygon", "circle", "ellipse", "inset", "path", "cubic-bezier", "steps"),
    }
)
"""What a value may call. None of these loads anything; `url` is judged by where it leads."""


def is_inside(value: str) -> bool:
    """Whether an attribute's value, read as CSS, refers to nothing but this document (`url(#id)`)."""
    return _inside(tinycss2.parse_component_value_list(value))


def clean_declarations(style: str) -> str:
    """The content of a style attribute, without declarations that leave the document."""
    return _declarations(tinycss2.parse_blocks_contents(style, skip_comments=True, skip_whitespace=True))


def clean_sheet(sheet: str) -> str:
    """A style sheet reduced to plain rules, also inside @media: no @import, no @font-face, no outside URL."""
    return _rules(tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True))


def _rules(nodes: Iterable[Any]) -> str:
    kept = []
    for node in nodes:
        if isinstance(node, QualifiedRule) and "\\" not in (prelude := tinycss2.serialize(node.prelude)):
            body = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
            kept.append(f"{prelude.strip()}{{{_declarations(body)}}}")
        elif isinstance(node, AtRule) and node.lower_at_keyword == "media" and node.content is not None:
            inner = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
            kept.append(f"@media {tinycss2.serialize(node.prelude).strip()}{{{_rules(inner)}}}")
    return "\n".join(kept)


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

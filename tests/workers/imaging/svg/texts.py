"""Drawings with text, for test_chromium.py."""

from __future__ import annotations

from collections.abc import Iterator

from tests.workers.imaging.svg.drawn import svg

SCRIPTS = {
    "devanagari-thai": ('x="10"', "हिन्दी देवनागरी क्षत्रिय · ภาษาไทย ที่นี่"),
    "all": ('x="10"', "A ไทย हिन्दी العربية 日本語"),
    "all-bold": ('x="10" font-weight="bold"', "Bold: ไทย हिन्दी العربية"),
    "arabic-devanagari": ('x="10"', "العربية हिन्दी · क्षत्रिय"),
    "hebrew-arabic": ('x="10"', "שלום العربية 123 ok"),
    "japanese-first": ('x="10"', "日本語 हिन्दी ★ ภาษาไทย"),
    "no-space": ('x="10"', "Öl:हिन्दीไทยที่b"),
    "spans": ('x="10"', 'हिन्दी <tspan fill="red">क्षत्रिय ที่</tspan> นี่'),
    "serif": ('x="10" style="font-family:serif"', "Tinos हिन्दी ที่นี่"),
    "middle": ('x="300" text-anchor="middle"', "हिन्दी · ที่นี่ · مرحبا"),
    "rtl-hebrew": ('x="590" direction="rtl"', "שלום עולם"),
    "rtl-arabic": ('x="590" direction="rtl"', "مرحبا بالعالم العربي"),
    "rtl-css": ('x="590" style="direction:rtl"', "مرحبا بالعالم!"),
    "rtl-end": ('x="10" direction="rtl" text-anchor="end"', "שלום עולם."),
    "rtl-middle": ('x="300" direction="rtl" text-anchor="middle"', "مرحبا 123 abc"),
    "rtl-latin": ('x="590" direction="rtl"', "Hello world!"),
    "rtl-mixed": ('x="590" direction="rtl"', "مرحبا हिन्दी ไทย · Ok"),
    "rtl-spans": ('x="590" direction="rtl"', 'שלום <tspan fill="red">Hello</tspan> world עולם'),
}


def texts() -> Iterator[tuple[str, bytes]]:
    for name, text in {
        "latin": "Hafen Öl",
        "latin-extended": "éüñ Łódź",
        "greek": "Ελλάδα",
        "cyrillic": "Привет",
        "hebrew": "שלום",
        "japanese": "日本かな",
        "chinese": "价格 上海",
        "korean": "한국어",
        "arabic": "مرحبا",
        "thai": "ภาษาไทย",
        "devanagari": "हिन्दी",
        "vietnamese": "Tiếng Việt",
        "mixed": "a日bя한c",
        "symbols": "★ ✓ → ♥",
        "math": "∑ ≤ ∞ √",
        "combining": "e\u0301a\u0308o\u0302",
        "currency": "€ ₽ £ ¥ ₹",
        "punctuation": "“x” – … •",
        "soft": "a\u200db\u00ad\u2060c",
    }.items():
        for family in (
            ("Arial", "serif", "monospace") if name in {"latin", "cyrillic", "mixed"} else ("sans-serif",)
        ):
            yield (
                f"text-{name}-{family}",
                svg(f'<text x="5" y="60" font-size="40" font-family="{family}">{text}</text>'),
            )
    for name, (more, text) in SCRIPTS.items():
        yield (
            f"text-scripts-{name}",
            svg(
                f'<text y="42" font-size="34" font-family="sans-serif" fill="#234" {more}>{text}</text>',
                'width="600" height="60"',
            ),
        )
    for name, more in {
        "default": "",
        "bold": 'font-weight="bold"',
        "italic": 'font-style="italic"',
        "both": 'font-weight="700" font-style="oblique"',
        "helvetica": 'font-family="Helvetica, Arial, sans-serif"',
        "times": 'font-family="&apos;Times New Roman&apos;"',
        "courier": 'font-family="Courier New, monospace"',
        "unknown": 'font-family="Nowhere Sans"',
        "unknown-mono": 'font-family="Nowhere, monospace"',
        "middle": 'text-anchor="middle" dx="90"',
        "spacing": 'letter-spacing="5" font-family="Arial"',
        "length": 'textLength="180"',
        "underline": 'text-decoration="underline"',
        "baseline": 'dominant-baseline="middle"',
        "hanging": 'dominant-baseline="hanging"',
        "central": 'dominant-baseline="central"',
        "stroke": 'fill="none" stroke="red" stroke-width="2"',
        "rotate": 'rotate="20"',
        "dy": 'dy="-20 20"',
        "shorthand": 'style="font:italic bold 30px/2 Arial"',
        "uppercase": 'style="text-transform:uppercase"',
        "pre": 'xml:space="preserve"',
        "em": 'style="font-size:2em"',
        "small-caps": 'font-variant="small-caps"',
        "weight-600": 'font-weight="600"',
    }.items():
        yield f"text-{name}", svg(f'<text x="5" y="60" font-size="40" {more}>Hag  fx</text>')
    yield (
        "text-spans",
        svg(
            '<text x="5" y="30" font-size="20" font-family="Arial"><tspan>one</tspan><tspan fill="red">two</tspan> '
            '<tspan x="5" dy="1.2em">three</tspan>\n    <tspan font-weight="bold">four</tspan></text>'
        ),
    )
    yield (
        "text-on-a-path",
        svg(
            '<path id="p" d="M10 80q90 -90 180 0" fill="none" stroke="#ccc"/>'
            '<text font-size="20" font-family="Arial">'
            '<textPath href="#p" startOffset="10%">along a path</textPath></text>'
        ),
    )
    yield (
        "text-on-a-path-xlink",
        svg(
            '<path id="p" d="M10 80h180"/><text font-size="20"><textPath xlink:href="#p">along</textPath></text>'
        ),
    )
    yield (
        "text-white-space",
        svg('<style>text{white-space:pre;font:20px monospace}</style><text x="5" y="40">a   b</text>'),
    )
    yield (
        "text-gradient",
        svg(
            '<linearGradient id="g"><stop stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient>'
            '<text x="5" y="70" font-size="60" font-weight="bold" fill="url(#g)">Sale</text>'
        ),
    )
    yield (
        "text-vertical",
        svg('<text x="50" y="5" font-size="20" writing-mode="tb" font-family="Arial">日本ab</text>'),
    )

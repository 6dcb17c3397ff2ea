"""Drawings whose look depends on a rule that is easily got wrong; test_chromium.py compares each with Chromium."""

from __future__ import annotations

from collections.abc import Iterator

from tests.workers.imaging.svg.drawn import bitmap, image, svg, url
from tests.workers.imaging.svg.styles import styles
from tests.workers.imaging.svg.texts import texts


def _shapes() -> Iterator[tuple[str, bytes]]:
    face = '<circle cx="50" cy="50" r="50" fill="#f00"/><path d="M0 0h30v30z" fill="#00f"/>'
    for size in ('width="200" height="100"', 'width="100" height="200"'):
        for aspect in (
            "",
            "none",
            "xMinYMin",
            "xMaxYMax meet",
            "xMidYMid slice",
            "xMinYMax slice",
            "rubbish",
        ):
            given = f'preserveAspectRatio="{aspect}"' if aspect else ""
            yield f"aspect-{size[7]}-{aspect}", svg(face, f'{size} viewBox="0 0 100 100" {given}')
    for name, attributes in {
        "no-view-box": 'width="200" height="100"',
        "view-box-only": 'viewBox="0 0 200 100"',
        "view-box-offset": 'width="200" height="100" viewBox="-20 -10 100 100"',
        "percent": 'width="100%" height="100%" viewBox="0 0 200 100"',
        "width-only": 'width="200" viewBox="0 0 100 50"',
        "height-only": 'height="100" viewBox="0 0 100 50"',
        "percent-width": 'width="100%" height="100" viewBox="0 0 100 50"',
        "millimetres": 'width="60mm" height="30mm" viewBox="0 0 100 100"',
        "inches": 'width="2in" height="1in"',
        "ems": 'width="10em" height="5em" viewBox="0 0 100 100"',
        "style-size": 'width="10" height="10" style="width:200px;height:100px" viewBox="0 0 100 100"',
        "x-and-y": 'x="30" y="20" width="200" height="100" viewBox="0 0 100 100"',
        "overflow": 'width="200" height="100" viewBox="0 0 50 50" overflow="visible"',
        "fractions": 'width="200.4" height="100.2" viewBox="0 0 100 100"',
    }.items():
        yield name, svg(face, attributes)
    percent = '<rect width="100%" height="50%" fill="#0a0"/><circle cx="50%" cy="50%" r="10%"/>'
    yield "percent-of-view-box", svg(percent, 'width="200" height="100" viewBox="0 0 100 100"')
    yield "percent-without-view-box", svg(percent)
    yield "percent-in-nested", svg(f'<svg x="50" y="10" width="100" height="80">{percent}</svg>')
    yield (
        "nested-aspect",
        svg(f'<svg x="50" y="10" width="100" height="80" viewBox="0 0 100 100">{face}</svg>'),
    )
    yield "nested-overflow", svg(f'<svg x="50" width="30" height="30">{face}</svg>')
    yield "background", svg(face, 'width="200" height="100" style="background:#dde"')
    yield (
        "background-color",
        svg(face, 'width="200" height="100" style="background-color:rgb(255 200 0 / 50%)"'),
    )
    yield "root-opacity", svg(face, 'width="200" height="100" opacity=".5"')
    symbol = f'<symbol id="s" viewBox="0 0 100 100">{face}</symbol>'
    yield "symbol", svg(f'{symbol}<use href="#s" x="10" y="10" width="80" height="40"/>')
    yield "symbol-whole", svg(f'{symbol}<use xlink:href="#s"/>')
    yield (
        "symbol-aspect",
        svg(
            f"{symbol.replace('<symbol', '<symbol preserveAspectRatio=%none%'.replace('%', chr(34)))}"
            '<use href="#s" width="150" height="40"/>'
        ),
    )
    yield (
        "use-transformed",
        svg(
            f'<defs><g id="g" fill="#090">{face}<rect x="60" width="30" height="30"/></g></defs>'
            '<use href="#g" transform="translate(100 0) scale(.5)" fill="#f0f"/>'
            '<use href="#g" x="20" y="30" opacity=".5"/>'
        ),
    )
    yield (
        "marker",
        svg(
            '<marker id="m" viewBox="0 0 10 10" refX="5" refY="5" markerWidth="6" markerHeight="6" '
            'orient="auto-start-reverse">'
            '<path d="M0 0L10 5L0 10z" fill="context-stroke"/></marker>'
            '<path d="M30 50h100v30" fill="none" stroke="red" stroke-width="5" '
            'marker-start="url(#m)" marker-end="url(#m)"/>'
        ),
    )
    yield (
        "pattern",
        svg(
            '<pattern id="p" width="20" height="20" patternUnits="userSpaceOnUse" patternTransform="rotate(30)">'
            '<rect width="10" height="10" fill="red"/></pattern><rect width="200" height="100" fill="url(#p)"/>'
        ),
    )
    yield (
        "clip-and-mask",
        svg(
            '<clipPath id="c"><circle cx="60" cy="50" r="40"/></clipPath>'
            '<mask id="m"><linearGradient id="g"><stop stop-color="#fff"/><stop offset="1"/></linearGradient>'
            '<rect width="200" height="100" fill="url(#g)"/></mask>'
            '<rect width="200" height="100" fill="red" clip-path="url(#c)"/>'
            '<rect x="100" width="100" height="100" fill="blue" mask="url(#m)"/>'
        ),
    )
    yield (
        "paint-order",
        svg(
            '<circle cx="50" cy="50" r="30" fill="red" stroke="blue" stroke-width="20" paint-order="stroke"/>'
            '<circle cx="150" cy="50" r="30" fill="red" stroke="blue" stroke-width="20" style="paint-order:stroke"/>'
        ),
    )
    yield (
        "non-scaling-stroke",
        svg(
            '<g transform="scale(10)"><path d="M1 1h8v8h-8z" fill="none" stroke="red" stroke-width="6" '
            'vector-effect="non-scaling-stroke"/><path d="M11 1h8v8h-8z" fill="none" stroke="red" stroke-width="6" '
            'style="vector-effect:non-scaling-stroke"/></g>'
        ),
    )
    yield (
        "path-length",
        svg('<path d="M10 50h180" stroke="red" stroke-width="20" pathLength="10" stroke-dasharray="1 1"/>'),
    )
    yield (
        "gradients",
        svg(
            '<radialGradient id="a" cx=".3" fx=".1" fr=".1"><stop offset=".2" stop-color="red"/><stop offset="1" '
            'stop-color="blue" stop-opacity=".3"/></radialGradient>'
            '<linearGradient id="b" xlink:href="#a" gradientTransform="rotate(45)" spreadMethod="reflect" x2=".2"/>'
            '<rect width="100" height="100" fill="url(#a)"/><rect x="100" width="100" height="100" fill="url(#b)"/>'
        ),
    )


def _pictures() -> Iterator[tuple[str, bytes]]:
    for label, kind in (
        ("image/jpeg", "JPEG"),
        ("image/jpg", "JPEG"),
        ("image/pjpeg", "JPEG"),
        ("image/png", "PNG"),
        ("image/png;charset=utf-8", "PNG"),
        ("IMAGE/PNG", "PNG"),
        ("image/jpeg", "PNG"),
        ("image/avif", "AVIF"),
        ("image/webp", "WEBP"),
        ("image/gif", "GIF"),
        ("image/bmp", "BMP"),
        ("application/octet-stream", "PNG"),
        ("", "PNG"),
    ):
        yield f"picture-{label.replace('/', '-')}-{kind}", svg(image(label, bitmap(kind)))
    yield "picture-aspect", svg(image("image/png", bitmap("PNG"), 'x="20" y="10" width="90" height="80"'))
    yield (
        "picture-slice",
        svg(
            image(
                "image/png",
                bitmap("PNG"),
                'x="20" width="90" height="80" preserveAspectRatio="xMinYMid slice"',
            )
        ),
    )
    yield "picture-natural-size", svg(image("image/png", bitmap("PNG"), 'x="20" y="10"'))
    yield "picture-width-only", svg(image("image/png", bitmap("PNG"), 'x="20" y="10" width="120"'))
    yield (
        "picture-broken-lines",
        svg(
            '<image width="200" height="100" xlink:href="'
            + url("image/png", bitmap("PNG")).replace("A", "A\n ")
            + '"/>'
        ),
    )
    inner = svg(
        '<rect width="50" height="50" fill="#0a0"/><circle cx="50" cy="50" r="40" fill="red"/>',
        'width="100" height="100"',
    )
    yield "nested-drawing", svg(image("image/svg+xml", inner))
    yield "nested-drawing-natural", svg(image("image/svg+xml", inner, 'x="10" y="-20"'))
    styled = svg(
        "<style>rect{fill:#0a0}</style><linearGradient id='g'>"
        "<stop stop-color='red'/><stop offset='1'/></linearGradient>"
        "<rect width='9' height='9'/><circle id='square' cx='5' cy='5' r='3' fill='url(#g)'/>",
        'viewBox="0 0 10 10"',
    )
    yield (
        "nested-drawing-styled",
        svg(
            "<style>circle{stroke:blue}</style><linearGradient id='g'><stop stop-color='lime'/></linearGradient>"
            "<g fill='orange' stroke='red' stroke-width='3'>"
            + image("image/svg+xml", styled)
            + "<rect width='20' height='20' fill='url(#g)'/></g>"
        ),
    )
    twice = svg(
        image(
            "image/svg+xml",
            svg(image("image/png", bitmap("PNG"), 'width="50" height="50"'), 'width="100" height="100"'),
        ),
        'width="200" height="100"',
    )
    yield "nested-twice", svg(image("image/svg+xml", twice))
    quoted = (
        "%3Csvg xmlns='http://www.w3.org/2000/svg' width='40'"
        " height='20'%3E%3Crect width='40' height='20' fill='%23f00'/%3E%3C/svg%3E"
    )
    yield (
        "nested-percent-encoded",
        svg(f'<image width="200" height="100" href="data:image/svg+xml,{quoted}"/>'),
    )
    yield "nested-utf8", svg(f'<image width="200" height="100" href="data:image/svg+xml;utf8,{quoted}"/>')
    yield (
        "nested-charset",
        svg(f'<image width="200" height="100" href="data:image/svg+xml;charset=utf-8,{quoted}"/>'),
    )


def _headers() -> Iterator[tuple[str, bytes]]:
    red = svg('<rect width="200" height="100" fill="#f00"/><text>ö</text>').decode()
    illustrator = (
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
        '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" ['
        '<!ENTITY ns_ai "http://ns.adobe.com/AdobeIllustrator/10.0/">'
        '<!ENTITY c "#f00">]>'
    )
    yield (
        "illustrator",
        (
            illustrator + red.replace("<svg ", '<svg xmlns:i="&ns_ai;" i:x="1" ').replace("#f00", "&c;")
        ).encode(),
    )
    yield (
        "illustrator-switch",
        (
            illustrator
            + svg(
                '<switch><foreignObject requiredExtensions="&ns_ai;" width="1" height="1"/>'
                '<g i:extraneous="self" xmlns:i="&ns_ai;"><rect width="90" height="90" fill="red"/></g></switch>'
            ).decode()
        ).encode(),
    )
    yield "comment", ("<!--" + "x" * 90_000 + "-->" + red).encode()
    yield "instructions", ('<?xml version="1.0"?>\n<?a b?>\n<!-- c --><!DOCTYPE svg>\n' + red).encode()
    yield "utf-16", ('<?xml version="1.0" encoding="UTF-16"?>' + red).encode("utf-16")
    yield "utf-16-be", b"\xfe\xff" + ('<?xml version="1.0" encoding="UTF-16"?>' + red).encode("utf-16-be")
    yield "utf-16-undeclared", red.encode("utf-16")
    yield "byte-order-mark", b"\xef\xbb\xbf" + red.encode()
    yield "utf-16-in-name-only", ('<?xml version="1.0" encoding="UTF-16"?>' + red).encode()
    yield (
        "prefixed",
        b"<s:svg xmlns:s='http://www.w3.org/2000/svg' width='200' height='100'>"
        b"<s:rect width='90' height='90' fill='red'/></s:svg>",
    )


def _conditions() -> Iterator[tuple[str, bytes]]:
    def rect(colour: str, more: str = "") -> str:
        return f'<rect width="99" height="99" fill="{colour}" {more}/>'

    yield (
        "switch",
        svg(
            f"<switch>{rect('red', 'systemLanguage=%de%'.replace('%', chr(34)))}{rect('lime')}{rect('blue')}</switch>"
        ),
    )
    yield (
        "switch-english",
        svg(f"<switch>{rect('lime', 'systemLanguage=%de, en%'.replace('%', chr(34)))}{rect('red')}</switch>"),
    )
    yield (
        "switch-region",
        svg(f"<switch>{rect('lime', 'systemLanguage=%en-US%'.replace('%', chr(34)))}{rect('red')}</switch>"),
    )
    yield (
        "switch-british",
        svg(f"<switch>{rect('lime', 'systemLanguage=%en-GB%'.replace('%', chr(34)))}{rect('red')}</switch>"),
    )
    yield "language-alone", svg(rect("red", 'systemLanguage="de"'))
    yield "extensions-alone", svg(rect("red", 'requiredExtensions="http://example.com/x"'))
    yield "extensions-empty", svg(rect("red", 'requiredExtensions=""'))
    yield "language-empty", svg(rect("red", 'systemLanguage=""'))
    yield "features", svg(rect("lime", 'requiredFeatures="http://www.w3.org/TR/SVG11/feature#Shape"'))
    yield "features-unknown", svg(rect("lime", 'requiredFeatures="rubbish"'))
    yield "empty-foreign-object", svg(rect("lime") + '<foreignObject width="100" height="100"/>')


def cases() -> dict[str, bytes]:
    found = [*_shapes(), *_pictures(), *_headers(), *styles(), *_conditions(), *texts()]
    assert len(dict(found)) == len(found)
    return dict(found)

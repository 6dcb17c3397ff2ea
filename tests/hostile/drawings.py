"""SVG that runs, fetches, reads files or explodes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

from tests.hostile.make import DONE, Hostile, chunk, good, hostile, png

_CORRUPT: Final = "corrupt_image"
_XMLNS: Final = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
ORIGIN: Final = "http://127.0.0.1:9"
"""Where the documents of `calling` would like to go; a test puts the address of its own server there."""


def svg(body: str, *, width: int = 96, height: int = 64, attributes: str = "", prolog: str = "") -> bytes:
    """A drawing with a green square at 0,0 and a body."""
    square = '<rect id="square" width="10" height="10" fill="#00ff00"/>'
    return (
        f'{prolog}<svg {_XMLNS} width="{width}" height="{height}" {attributes}>{square}{body}</svg>'
    ).encode()


def calling() -> Iterator[tuple[str, bytes]]:
    """Every way that a drawing may try to run a script or to reach ORIGIN or a file. All of them are drawn, without."""
    page = base64.b64encode(svg("<script>alert(1)</script>")).decode()
    bodies = {
        "script": "<script>alert(1)</script><script href='ORIGIN/a.js'/><SCRIPT xmlns=''>alert(1)</SCRIPT>",
        "handlers": "<rect onclick='alert(1)' onload='alert(1)' OnMouseOver='alert(1)' width='5' height='5'/>",
        "foreign-object": "<foreignObject width='9' height='9'><iframe xmlns='http://www.w3.org/1999/xhtml'"
        " src='ORIGIN/'/><body xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></body></foreignObject>",
        "links": "<a href='javascript:alert(1)'><rect width='5' height='5'/></a>"
        "<a xlink:href='java&#10;script:alert(1)'/>"
        "<a href='ORIGIN/phishing'><circle r='5'/></a>",
        "images": "<image href='ORIGIN/a.png' width='9' height='9'/><image xlink:href='file:///etc/passwd'/>"
        "<image href='/etc/passwd'/><image href='//127.0.0.1/a.png'/><image href='a.png'/>",
        "uses": "<use href='ORIGIN/a.svg#b'/><use xlink:href='ORIGIN/a.svg#b'/><feImage href='ORIGIN/b.png'/>"
        "<filter id='f'><feImage href='ORIGIN/b.png'/><feImage xlink:href='/etc/passwd'/></filter>"
        "<rect filter='url(#f)' width='9' height='9'/><textPath href='ORIGIN/c.svg#p'>x</textPath>",
        "data-urls": f"<image href='data:image/svg+xml;base64,{page}' width='9' height='9'/>"
        "<image href='data:text/html,&lt;script>alert(1)&lt;/script>'/><a href='data:text/html,x'/>"
        f"<use href='data:image/svg+xml;base64,{page}#square'/>",
        "styles": "<style>@import 'ORIGIN/a.css'; @im\\70ort url(ORIGIN/b.css); @font-face{font-family:x;"
        "src:url(ORIGIN/f.woff)} rect{fill:red;background:url(ORIGIN/c.png)} x{b:u\\72l(ORIGIN/d)}"
        " y{background:image-set('ORIGIN/e.png' 1x)} z{behavior:url(ORIGIN/f)} @media all{q{fill:url('ORIGIN/g')}}"
        "</style>",
        "style-attributes": "<rect style=\"fill:url(ORIGIN/x);filter:url('ORIGIN/y#z');background:u\\72l(ORIGIN/z)\"/>"
        "<rect fill='url(ORIGIN/p#q)' mask='url( &quot;ORIGIN/m&quot; )' clip-path='u\\72l(ORIGIN/c)'/>",
        "animations": "<a href='#square'><animate attributeName='href' values='javascript:alert(1)'/>"
        "<set attributeName='xlink:href' to='ORIGIN/x'/><set attributeName='onclick' to='alert(1)'/></a>",
        "base": "<g xml:base='ORIGIN/'><use href='a.svg#b'/></g>",
        "cdata": "<text><![CDATA[<script>alert(1)</script>]]></text><!--><script>alert(1)</script>-->",
        "other-namespaces": "<html:script xmlns:html='http://www.w3.org/1999/xhtml'>alert(1)</html:script>"
        "<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='file:///etc/passwd' parse='text'/>",
    }
    for name, body in bodies.items():
        yield name, svg(body)
    sheet = '<?xml version="1.0"?><?xml-stylesheet href="ORIGIN/a.css" type="text/css"?>'
    yield "processing-instruction", svg("", prolog=sheet)
    yield "doctype", svg("", prolog='<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "ORIGIN/svg11.dtd">')
    yield "root", svg("", attributes='onload="alert(1)" xml:base="ORIGIN/"')


def _refused() -> Iterator[tuple[str, bytes]]:
    """What cannot be made harmless, or is no drawing."""
    laughs = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    yield "billion-laughs", svg("<text>&j;</text>", prolog=f'<!DOCTYPE svg [<!ENTITY a "ha">{laughs}]>')
    yield (
        "external-entity",
        svg("<text>&e;</text>", prolog='<!DOCTYPE svg [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
    )
    yield "parameter-entity", svg("", prolog=f'<!DOCTYPE svg [<!ENTITY % e SYSTEM "{ORIGIN}/e.dtd"> %e;]>')
    yield "deep", svg("<g>" * 50_000 + "</g>" * 50_000)
    yield "many", svg("<g/>" * 150_000)
    yield "cut-off", svg("<g>")[:-8]
    yield "no-namespace", b'<svg width="96" height="64"><rect width="5" height="5"/></svg>'
    yield "no-size", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="5" height="5"/></svg>'
    yield "not-a-number", f'<svg {_XMLNS} width="NaN" height="-5" viewBox="0 0 0 0"/>'.encode()
    uses = "".join(f'<g id="a{n}">{f"""<use href="#a{n - 1}"/>""" * 10}</g>' for n in range(1, 9))
    yield "use-of-use", svg(f'<defs><g id="a0"><rect width="1"/></g>{uses}</defs><use href="#a8"/>')


def drawings() -> Iterator[Hostile]:
    def sample(name: str, data: bytes, *expect: str, **more: int) -> Hostile:
        return hostile(name, data, *expect, **more)

    for name, data in calling():
        yield sample(f"calling-{name}.svg", data.replace(b"ORIGIN", ORIGIN.encode()), DONE)
    for name, data in _refused():
        yield sample(f"refused-{name}.svg", data, _CORRUPT)
    yield hostile("drawing.png", svg(""), DONE)
    yield sample("claims-another-shape.svg", svg(""), "dimensions_mismatch", width=64, height=96)
    yield sample("utf-16.svg", svg("").decode().encode("utf-16"), DONE)
    yield sample("packed.svg", b"\x1f\x8b\x08\0" + bytes(60), "unsupported_type")
    yield sample("itself.svg", svg("<g id='r'><use href='#r'/></g>"), DONE)
    paint = "<rect fill='url(#r)' width='9' height='9'/>"
    yield sample(
        "pattern-of-itself.svg", svg(f"<pattern id='r' width='9' height='9'>{paint}</pattern>{paint}"), DONE
    )
    # As large as a drawing may say; what is drawn of it is what the limits allow, empty and all.
    vast = svg("", width=1_000_000_000, height=1_000_000)
    yield sample("vast.svg", vast, DONE, _CORRUPT, width=8192, height=8)
    layers = "<g opacity='.9'><rect width='6000' height='6000'/>" * 90 + "</g>" * 90
    big = {"width": 6000, "height": 6000}
    yield sample("layers.svg", svg(layers, width=6000, height=6000), "pixel_memory", **big)
    embedded = base64.b64encode(png(15000, 15000, chunk(b"IDAT", b""))).decode()
    image = "<image href='data:image/png;base64,{}' width='9' height='9'/>"
    yield sample("embedded-15000.svg", svg(image.format(embedded)), "too_many_pixels")
    yield sample("embedded-noise.svg", svg(image.format("iVBORw0KGgoAAAAN")), _CORRUPT)
    honest = base64.b64encode(good("png")).decode()
    yield sample("embedded.svg", svg(image.format(honest)), DONE)

"""Drawings with style sheets, for test_chromium.py."""

from __future__ import annotations

from collections.abc import Iterator

from tests.workers.imaging.svg.drawn import svg


def styles() -> Iterator[tuple[str, bytes]]:
    def styled(
        name: str, sheet: str, body: str = '<rect class="a" id="i" width="200" height="100"/>'
    ) -> tuple[str, bytes]:
        return f"css-{name}", svg(f"<style>{sheet}</style>{body}")

    yield styled("var", ":root{--c:#f00}.a{fill:var(--c)}")
    yield styled("var-chain", ":root{--c:var(--d);--d:rgb(var(--e));--e:0 128 255}.a{fill:var(--c)}")
    yield styled("var-fallback", ".a{fill:var(--none, #0c0)}")
    yield styled("var-invalid", ".a{fill:red;fill:var(--none)}")
    yield styled("var-circle", ":root{--c:var(--d);--d:var(--c)}.a{fill:var(--c,red)}")
    yield styled(
        "var-inherited",
        "g{--c:lime}.a{fill:var(--c)}",
        '<g><g style="--c:blue"><rect class="a" width="99" height="99"/>'
        '</g><rect class="a" x="100" width="99" height="99"/></g>',
    )
    yield styled("var-attribute", ":root{--c:#f00}", '<rect width="200" height="100" fill="var(--c)"/>')
    yield styled(
        "var-use",
        ".b{--c:red}",
        '<defs><rect id="r" width="90" height="90" fill="var(--c, blue)"/>'
        '</defs><use href="#r" class="b"/><use href="#r" x="100"/>',
    )
    for query, body in {
        "screen": "",
        "print": "",
        "all": "",
        "not print": "",
        "(prefers-color-scheme: dark)": "",
        "(prefers-color-scheme: light)": "",
        "screen and (min-width: 150px)": "",
        "(max-width: 150px)": "",
        "(width >= 150px)": "",
        "print, screen": "",
        "(orientation: landscape)": "",
        "only screen": "",
        "(min-aspect-ratio: 3/2)": "",
        "(100px &lt; width &lt;= 300px)": "",
        "speech": "",
        "(unknown: 3)": "",
        "screen and (min-width:100px) and (max-width:180px)": "",
        "(min-resolution: 2dppx)": "",
    }.items():
        yield styled(
            f"media {query.replace('/', ':')}", f".a{{fill:red}}@media {query}{{.a{{fill:lime}}}}{body}"
        )
    yield styled(
        "supports",
        ".a{fill:red}@supports (fill: lime){.a{fill:lime}}@supports not (fill:lime){.a{fill:blue}}",
    )
    yield styled("layers", "@layer x,y;@layer y{.a{fill:lime}}@layer x{#i{fill:red}}")
    yield styled("layers-and-plain", ".a{fill:lime}@layer x{#i{fill:red}}")
    yield styled("specificity", "#i{fill:lime}.a{fill:red}rect{fill:blue}")
    yield styled("order", ".a{fill:red}.a{fill:lime}")
    yield styled("important", ".a{fill:lime !important}#i{fill:red}")
    yield (
        "css-style-attribute",
        svg(
            '<style>.a{fill:red}</style><rect class="a" style="fill:lime" width="99" height="99" fill="blue"/>'
        ),
    )
    yield (
        "css-attribute-loses",
        svg('<style>rect{fill:lime}</style><rect width="99" height="99" fill="red"/>'),
    )
    for selector in (
        "svg > rect",
        "rect:first-of-type",
        "rect:nth-child(2)",
        "[class~=a]",
        "rect.a#i",
        "*",
        "g rect, .a",
        ":not(g)",
        ":is(.a,.b)",
        "rect:not(.b)",
        "style + rect",
        "rect:hover",
        "rect::before",
        ":root rect",
        "[width='200']",
        "rect:last-child",
        "RECT",
        "svg|rect",
        "rect:where(.a)",
        "[id^=i]",
        "a:link",
    ):
        yield styled(f"selector {selector}", f"{selector.replace('>', '&gt;')}{{fill:red}}")
    yield styled("invalid-value", ".a{fill:red;fill:rubbish}")
    yield styled("invalid-attribute", "", '<g fill="lime"><rect width="99" height="99" fill="rubbish"/></g>')
    for value in (
        "rgb(255 0 0)",
        "rgb(255 0 0 / 50%)",
        "rgba(255,0,0,.5)",
        "hsl(120 100% 40%)",
        "hsl(120deg,100%,40%,.5)",
        "hwb(200 10% 20%)",
        "lab(60% 60 40)",
        "lch(60% 70 200)",
        "oklch(0.7 0.2 140)",
        "oklab(0.6 0.1 -0.2)",
        "color(display-p3 0 1 0)",
        "color(srgb .2 .4 .8)",
        "color-mix(in srgb, red, blue)",
        "color-mix(in oklab, red 30%, yellow)",
        "color-mix(in srgb, red 20%, transparent)",
        "transparent",
        "rebeccapurple",
        "#f0f8",
        "#ff000080",
        "currentColor",
        "CanvasText",
        "light-dark(red, blue)",
        "LIME",
    ):
        yield styled(f"colour {value}", f".a{{color:orange;fill:{value}}}")
    yield (
        "css-current-color",
        svg(
            '<g color="red"><rect width="99" height="99" fill="currentColor"/><g style="color:lime">'
            '<rect x="100" width="99" height="99" style="fill:currentcolor"/></g></g>'
        ),
    )
    yield styled(
        "geometry",
        "circle{r:40px;cx:60px;cy:50px}rect{x:110px;width:50px;height:50px;rx:20px}path{d:path('M170 0h30v100z')}",
        "<circle/><rect/><path d='M0 0h10v10z'/>",
    )
    for value in (
        "translate(50px,20px)",
        "translate(25%, 10%)",
        "rotate(30deg)",
        "scale(.5)",
        "rotate(.1turn) scale(1.2,.5)",
        "matrix(1,.2,0,1,10,0)",
        "translateX(2em)",
        "skewX(20deg)",
        "translate3d(30px,10px,0)",
        "none",
        "rotate(30)",
        "scale(50%)",
    ):
        yield styled(
            f"transform {value}",
            f".a{{transform:{value}}}",
            '<rect class="a" width="80" height="60" fill="red"/>',
        )
    for value in ("center", "50% 50%", "40px 30px", "top right", "100% 0", "bottom"):
        yield styled(
            f"origin {value}",
            f".a{{transform:rotate(30deg);transform-origin:{value}}}",
            '<rect class="a" x="20" width="80" height="60" fill="red"/>',
        )
    yield styled(
        "origin-attribute",
        "",
        '<rect transform="rotate(30)" transform-origin="60 30" x="20" width="80" height="60" fill="red"/>',
    )
    for body in (
        '<rect class="a" x="20" width="80" height="60" fill="red"/>',
        '<circle class="a" cx="60" cy="50" r="30" fill="red"/>',
        '<polygon class="a" points="20,10 90,10 90,80" fill="red"/>',
        '<path class="a" d="M20 10h70q30 40 0 60z" fill="red"/>',
        '<g class="a"><rect x="20" width="80" height="60" fill="red"/><circle cx="100" cy="50" r="20"/></g>',
    ):
        yield styled(
            f"fill-box {body[1:5]}",
            ".a{transform:rotate(30deg);transform-box:fill-box;transform-origin:center}",
            body,
        )
    yield styled(
        "single-transforms",
        ".a{translate:40px 10px;rotate:20deg;scale:.8;transform:translate(10px)}",
        '<rect class="a" width="80" height="60" fill="red"/>',
    )
    yield styled(
        "display",
        ".a{display:none}.b{visibility:hidden}",
        '<rect class="a" width="50" height="50"/>'
        '<rect class="b" x="60" width="50" height="50"/><rect x="120" width="50" height="50"/>',
    )
    yield styled(
        "dashes",
        "path{stroke-dasharray:calc(2 * 5px), 5;stroke:red;stroke-width:calc(1em - 6px)}",
        '<path d="M0 50h200"/>',
    )
    yield styled("opacity", ".a{opacity:50%;fill-opacity:.5}")
    yield styled(
        "blend",
        ".b{mix-blend-mode:multiply;fill:yellow}",
        '<rect width="99" height="99" fill="cyan"/><rect class="b" x="50" width="99" height="99"/>',
    )
    yield styled(
        "filter",
        ".a{filter:blur(5px) drop-shadow(10px 10px 2px rgb(255 0 0 / .8));fill:lime}",
        '<rect class="a" x="30" y="20" width="80" height="40"/>',
    )
    yield styled(
        "nesting",
        "g{.a{fill:lime} &amp; .b{fill:red}}",
        '<g><rect class="a" width="99" height="99"/><rect class="b" x="100" width="99" height="99"/></g>',
    )
    yield styled(
        "initial",
        "g{fill:red}.a{fill:initial}.b{fill:inherit}.c{fill:unset}",
        '<g><rect class="a" width="50" height="99"/><rect class="b" x="60" width="50" height="99"/>'
        '<rect class="c" x="120" width="50" height="99"/></g>',
    )
    yield styled("comments", "/* .a{fill:red} */ .a{/**/fill:lime/**/}")
    yield styled("cdata", "<![CDATA[ .a > .b, .a{fill:lime} ]]>")
    yield styled("html-comment", "&lt;!-- .a{fill:lime} --&gt;")
    yield (
        "css-media-attribute",
        svg(
            '<style media="print">rect{fill:red}</style>'
            '<style media="screen">rect{stroke:lime;stroke-width:20}</style><rect width="99" height="99"/>'
        ),
    )
    yield (
        "css-other-type",
        svg('<style type="text/less">rect{fill:red}</style><rect width="99" height="99"/>'),
    )
    yield styled("viewport-units", "rect{width:50vw;height:50vh}", "<rect/>")
    yield styled("rem", "rect{width:5rem;height:2em}", "<rect/>")
    yield styled(
        "mask-shorthand",
        ".a{mask:url(#m)}",
        '<mask id="m"><circle cx="50" cy="50" r="40" fill="#fff"/></mask><rect class="a" width="200" height="100"/>',
    )
    yield styled(
        "gradient-style",
        "stop{stop-color:red}.e{stop-color:var(--x,blue)}",
        '<linearGradient id="g"><stop/><stop class="e" offset="1"/>'
        '</linearGradient><rect width="200" height="100" fill="url(#g)"/>',
    )
    yield styled("paint-fallback", ".a{fill:url(#none) lime}")
    yield styled("paint-missing", ".a{fill:url(#none)}")

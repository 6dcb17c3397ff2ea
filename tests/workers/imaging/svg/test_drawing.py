"""Drawings: nothing of them runs, fetches or reads; what is harmless stays as it was, to the pixel."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.hostile.drawings import ORIGIN, calling, svg
from tests.hostile.make import chunk, good, png
from tests.workers.imaging.svg.drawn import bitmap, image
from workers.imaging.pool import PixelPool
from workers.imaging.svg import cascade, fonts
from workers.imaging.svg import sanitise as sanitising
from workers.imaging.svg.css import clean_declarations, clean_sheet, is_inside
from workers.imaging.svg.embedded import MAX_NESTED, MAX_PICTURES
from workers.imaging.svg.raster import rasterise
from workers.imaging.svg.reading import MAX_ELEMENTS
from workers.imaging.svg.sanitise import MAX_DRAWN, sanitise
from workers.imaging.svg.size import check_claim, drawing_size
from workers.imaging.types import Claim, Limits, PixelTask
from workers.ops import pipeline
from workers.pixel_errors import PixelError

pytestmark = pytest.mark.usefixtures("pixel_server")
LIMITS = Limits()
FORBIDDEN = re.compile(
    r"<!DOCTYPE|<!ENTITY|<!--|<\?xml-|<\w*:?(script|foreignObject|iframe|include|handler)\b|\son\w+\s*=|"
    r"javascript:|alert\(1\)(?!&lt;)|@import|@font-face|xml:base|file:|/etc/passwd|127\.0\.0\.1|data:text|\\",
    re.IGNORECASE,
)
CALLING = dict(calling())


_DRAWING = re.compile(r"data:image/svg\+xml;base64,([\w+/=]+)")


def _shown(kept: bytes) -> str:
    """A drawing with the drawings in it written out."""
    return _DRAWING.sub(
        lambda found: f"#{_shown(base64.b64decode(found[1]))}".replace('"', "'"), kept.decode()
    )


def _sanitised(tmp_path: Path, data: bytes) -> bytes:
    source, target = tmp_path / "source", tmp_path / "original.svg"
    source.write_bytes(data)
    sanitise(source, target, LIMITS)
    return target.read_bytes()


def _drawn(tmp_path: Path, data: bytes, size: tuple[int, int] = (96, 64)) -> Image.Image:
    _sanitised(tmp_path, data)
    return rasterise(tmp_path / "original.svg", size)


@pytest.mark.parametrize("name", CALLING)
def test_what_is_kept_holds_nothing_forbidden(tmp_path: Path, name: str) -> None:
    data = CALLING[name].replace(b"ORIGIN", ORIGIN.encode())
    kept = _shown(_sanitised(tmp_path, data))
    found = FORBIDDEN.search(kept)
    assert found is None, (found, kept)
    assert 'id="square"' in kept
    # Every reference that is left stays inside.
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', kept))
    assert all(target.startswith("#") for target in re.findall(r"url\([\"']?([^)\"']*)", kept))
    assert _drawn(tmp_path, data).getpixel((5, 5)) in {
        (0, 255, 0, 255),
        (255, 0, 0, 255),
    }  # "styles" paints it red


@pytest.mark.parametrize("name", CALLING)
def test_sanitising_again_changes_nothing(tmp_path: Path, name: str) -> None:
    once = _sanitised(tmp_path, CALLING[name].replace(b"ORIGIN", ORIGIN.encode()))
    assert _sanitised(tmp_path, once) == once


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[str, list[str]]]:
    """The origin of a server, and who has come to it."""
    visits: list[str] = []

    async def visited(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", visits
        # The server does hear of a visit: a test that could not fail would show nothing.
        assert visits == []
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.read()
        writer.close()
        assert len(visits) == 1


def test_nothing_moves_in_what_is_kept(tmp_path: Path) -> None:
    moving = "".join(
        f'<{name} attributeName="opacity" to="1" dur="1s"/>'
        for name in ("animate", "set", "animateMotion", "animateTransform")
    )
    kept = _sanitised(tmp_path, svg(f'<rect width="9" height="9" opacity="0">{moving}</rect>'))
    assert b"animate" not in kept
    assert b"<set" not in kept


async def test_nothing_is_fetched(tmp_path: Path) -> None:
    async with _listening() as (origin, visits), PixelPool(workers=2) as pool:
        for name, data in CALLING.items():
            workdir = tmp_path / name
            await asyncio.to_thread(workdir.mkdir)
            source = workdir / "source"
            await asyncio.to_thread(source.write_bytes, data.replace(b"ORIGIN", origin.encode()))
            result = await pool.run(PixelTask(source, workdir, "convert-v1:format-png", Claim(96, 64)))
            assert (result.source_format, result.original) == ("SVG", workdir / "original.svg")
        assert visits == []


async def test_no_file_is_read(tmp_path: Path) -> None:
    """The renderer has no network, but would read a file that a raw drawing names: only sanitised ones reach it."""
    red = tmp_path / "red.png"
    await asyncio.to_thread(Image.new("RGB", (96, 64), "red").save, red)
    async with _listening() as (origin, visits):
        seen = {}
        for target in (f"{origin}/a.png", str(red), f"file://{red}", red.name):
            data = svg(f"<image href='{target}' width='96' height='64'/>")
            raw = tmp_path / "raw"
            await asyncio.to_thread(raw.write_bytes, data)
            seen[target] = (await asyncio.to_thread(rasterise, raw, (96, 64))).getpixel((50, 50))
            kept = await asyncio.to_thread(_drawn, tmp_path, data)
            assert kept.getpixel((50, 50)) == (0, 0, 0, 0), target
        assert seen[str(red)] == (255, 0, 0, 255)
        assert visits == []


def test_what_is_harmless_stays_to_the_pixel(tmp_path: Path) -> None:
    embedded = base64.b64encode(good("png")).decode()
    data = svg(
        "<defs><linearGradient id='g'><stop stop-color='red'/>"
        "<stop offset='1' stop-color='#00f'/></linearGradient>"
        "<clipPath id='c'><circle cx='48' cy='32' r='30'/></clipPath>"
        "<filter id='b'><feGaussianBlur stdDeviation='2'/></filter></defs>"
        "<style>.a{fill:url(#g)} @media screen{.b{stroke:#123;stroke-width:3}}</style>"
        "<g clip-path='url(#c)' transform='rotate(5 48 32)'>"
        "<rect class='a b' x='20' y='10' width='50' height='40'/></g>"
        "<circle cx='80' cy='20' r='9' style='fill:rgb(10,200,30);opacity:.5' filter='url(#b)'/>"
        "<use href='#square' x='40'/>"
        f"<image x='60' y='40' width='30' height='20' xlink:href='data:image/png;base64,{embedded}'/>"
        "<text x='10' y='60' font-size='12'>A<tspan fill='red'>b</tspan> c</text>"
    )
    source = tmp_path / "raw"
    source.write_bytes(data)
    assert rasterise(source, (192, 128)).tobytes() == _drawn(tmp_path, data, (192, 128)).tobytes()


def test_text_is_drawn(tmp_path: Path) -> None:
    text = _drawn(tmp_path, svg("<text x='20' y='50' font-size='20' font-family='Nowhere Sans'>Hello</text>"))
    box = text.crop((15, 15, 96, 64)).getbbox()
    assert box is not None
    assert box[2] - box[0] > 30


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="120" height="80"', (120, 80)),
        ('width="120px" height="80.4px"', (120, 80)),
        ('width="1in" height="25.4mm"', (96, 96)),
        ('viewBox="0 0 24 12"', (24, 12)),
        ('width="100%" height="100%" viewBox="0,0,24,12"', (24, 12)),
        ('width="48" viewBox="0 0 24 12"', (48, 24)),
        ('height="6" viewBox="-5 -5 24 12"', (12, 6)),
        ('width="12000" height="6000"', (8192, 4096)),
        ('viewBox="0 0 1e8 1e8"', (7071, 7071)),
        ('width="0.2" height="0.1"', (1, 1)),
    ],
)
def test_the_size_follows_from_the_bytes(tmp_path: Path, attributes: str, size: tuple[int, int]) -> None:
    source = tmp_path / "source"
    source.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}><rect width="1" height="1"/></svg>'
    )
    assert drawing_size(source, LIMITS) == size


def test_a_drawing_announced_as_another_picture_is_no_larger() -> None:
    check_claim((6000, 6000), Claim(100, 100))
    check_claim((100, 100), Claim(6000, 6000, drawing=False))
    with pytest.raises(PixelError, match="dimensions_mismatch"):
        check_claim((6000, 6000), Claim(100, 100, drawing=False))


@pytest.mark.parametrize(
    ("claim", "accepted"),
    [
        ((100, 50), True),
        ((300, 150), True),
        ((33, 17), True),
        ((33, 16), True),
        ((50, 100), False),
        ((100, 53), False),
    ],
)
def test_a_claim_must_have_the_shape(claim: tuple[int, int], accepted: bool) -> None:
    if accepted:
        check_claim((100, 50), Claim(*claim))
    else:
        with pytest.raises(PixelError, match="dimensions_mismatch"):
            check_claim((100, 50), Claim(*claim))


def _process(tmp_path: Path, data: bytes, op_key: str) -> Iterator[Image.Image]:
    source = tmp_path / "source"
    source.write_bytes(data)
    result = pipeline.process(PixelTask(source, tmp_path, op_key, Claim(96, 64)))
    with Image.open(result.output) as image:
        image.load()
        yield image


def test_a_resize_that_comes_first_draws_at_its_size(tmp_path: Path) -> None:
    """The edge of the square stays sharp, enlarged twenty times."""
    [image] = _process(tmp_path, svg(""), "resize-v1:upscale-true:width-1920+convert-v1:format-png")
    assert image.size == (1920, 1280)
    assert (image.getpixel((199, 100)), image.getpixel((200, 100))) == ((0, 255, 0, 255), (0, 0, 0, 0))


def test_drawings_may_be_forbidden(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(svg(""))
    task = PixelTask(source, tmp_path, "convert-v1", Claim(96, 64), Limits(svg=False))
    with pytest.raises(PixelError, match="SVG drawing, which is not accepted") as failure:
        pipeline.process(task)
    assert failure.value.code == "unsupported_type"


def test_the_original_of_a_bitmap_is_its_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(good("png"))
    result = pipeline.process(PixelTask(source, tmp_path, "convert-v1", Claim(96, 64)))
    assert result.original == source


def test_references_that_multiply_are_counted_through_every_kind(tmp_path: Path) -> None:
    fills = "".join(
        f"<pattern id='p{n}' width='1' height='1'>" + f"<rect fill='url(#p{n - 1})'/>" * 12 + "</pattern>"
        for n in range(1, 7)
    )
    with pytest.raises(PixelError, match=f"more than {MAX_DRAWN} elements"):
        _sanitised(tmp_path, svg(f"<pattern id='p0'/>{fills}<rect fill='url(#p6)'/>"))


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        ("url(#a)", True),
        ("url('#a') red", True),
        ("rotate(5 10 10) translate(3)", True),
        ("url(http://h)", False),
        ("u\\72l(http://h)", False),
        ("url(a.svg#b)", False),
        ("image-set('a.png' 1x)", False),
        ("url(http://h", False),
        ("calc(1px + url(http://h))", False),
    ],
)
def test_values(value: str, inside: bool) -> None:
    assert is_inside(value) is inside


def test_sheets_and_declarations() -> None:
    assert (
        clean_declarations("fill:red;x:url(//h);stroke:url(#a)!important;b")
        == "fill:red;stroke:url(#a)!important"
    )
    assert clean_sheet(
        "@import 'x'; a,b>c{fill:red} @media print{d{x:url(y);y:1}} @font-face{src:url(z)}"
    ) == ("a,b>c{fill:red}\n@media print{d{y:1}}")


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("image/jpg", "JPEG"),
        ("image/png", "AVIF"),
        ("image/gif;charset=utf-8", "WEBP"),
        ("image/png", "TIFF"),
        ("", "BMP"),
    ],
)
def test_pictures_get_the_label_that_their_bytes_have(tmp_path: Path, label: str, kind: str) -> None:
    data = svg(image(label, bitmap(kind), "width='96' height='64' preserveAspectRatio='none'"))
    assert f"data:image/{kind.lower()};base64," in _sanitised(tmp_path, data).decode()
    drawn = _drawn(tmp_path, data)
    assert drawn.getpixel((20, 20)) == pytest.approx((255, 0, 0, 255), abs=3)
    assert drawn.getpixel((90, 60)) == pytest.approx((255, 255, 0, 255), abs=3)


def test_a_drawing_in_a_drawing_is_sanitised_and_drawn(tmp_path: Path) -> None:
    inner = svg(
        "<script>alert(1)</script><image href='http://127.0.0.1:9/a.png'/><rect onclick='alert(1)' width='96'"
        " height='64' fill='blue'/>"
    )
    data = svg(image("image/png", inner, "width='96' height='64'"))
    kept = _shown(_sanitised(tmp_path, data))
    assert not FORBIDDEN.search(kept), kept
    assert _drawn(tmp_path, data).getpixel((90, 60)) == (0, 0, 255, 255)


def test_embedded_bombs_are_refused(tmp_path: Path) -> None:
    vast = svg(image("image/avif", png(15000, 15000, chunk(b"IDAT", b""))))
    nested = svg("")
    for _ in range(MAX_NESTED + 1):
        nested = svg(image("image/svg+xml", nested))
    for name, data, code in (
        ("pixels", vast, "too_many_pixels"),
        ("pixels in a nested drawing", svg(image("image/svg+xml", vast)), "too_many_pixels"),
        ("depth", nested, "corrupt_image"),
        ("count", svg(image("image/png", bitmap("PNG")) * (MAX_PICTURES + 1)), "corrupt_image"),
        ("no picture", svg(image("image/png", b"noise")), "unsupported_type"),
    ):
        with pytest.raises(PixelError) as failure:
            _sanitised(tmp_path, data)
        assert failure.value.code == code, name


def test_elements_of_embedded_drawings_count_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a tenth of the real bound, which takes ten times as long to reach."""
    most = MAX_ELEMENTS // 10
    monkeypatch.setattr(sanitising, "MAX_ELEMENTS", most)
    data = svg(image("image/svg+xml", svg("<g/>" * (most * 4 // 10))) * 3)
    with pytest.raises(PixelError, match=f"more than {most} elements"):
        _sanitised(tmp_path, data)


def test_entities_of_the_document_are_replaced_within_bounds(tmp_path: Path) -> None:
    declared = '<!DOCTYPE svg [<!ENTITY blue "#00f"><!ENTITY paint "&blue;">]>'
    data = svg("<rect width='96' height='64' fill='&paint;'/>", prolog=declared)
    assert _drawn(tmp_path, data).getpixel((90, 60)) == (0, 0, 255, 255)
    assert b"ENTITY" not in _sanitised(tmp_path, data)
    long = f'<!DOCTYPE svg [<!ENTITY a "{"x" * 60_000}">]>'
    default = f'<!DOCTYPE svg [<!ENTITY a "{"x" * 60_000}"><!ATTLIST g id CDATA "&a;">]>'
    for bomb in (
        svg(f"<text>{'&a;' * 1000}</text>", prolog=long),
        svg(f"<text class='{'&a;' * 1000}'/>", prolog=long),
        svg("<g/>" * 1000, prolog=default),
        svg("<text>&nbsp;</text>", prolog="<!DOCTYPE svg>"),
        svg(
            "<text>&nbsp;</text>",
            prolog='<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://127.0.0.1:9/a.dtd">',
        ),
    ):
        with pytest.raises(PixelError, match="corrupt_image"):
            _sanitised(tmp_path, bomb)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "latin-1", "cp1251", "utf-8-sig"])
def test_a_drawing_in_any_encoding_is_the_same(tmp_path: Path, codec: str) -> None:
    letter = "я" if codec == "cp1251" else "ö"
    body = svg(f"<text y='60' font-size='60'>{letter}</text>").decode()
    label = {"latin-1": "ISO-8859-1", "cp1251": "windows-1251"}.get(codec, codec.partition("-sig")[0])
    encoded = f'<?xml version="1.0" encoding="{label}"?>{body}'.encode(codec)
    assert _drawn(tmp_path, encoded).tobytes() == _drawn(tmp_path, body.encode()).tobytes()


def test_white_space_between_spans_stays_as_it_was(tmp_path: Path) -> None:
    """svg-hush indents its output; between the parts of a word that shows."""
    data = svg("<text y='40'><tspan>on</tspan><tspan>ly</tspan></text>")
    assert b"<tspan>on</tspan><tspan>ly</tspan>" in _sanitised(tmp_path, data)


def test_what_svg_hush_does_not_know_is_kept(tmp_path: Path) -> None:
    data = svg(
        "<path id='p' d='M0 0h9'/><text xml:space='preserve' paint-order='stroke'><textPath href='#p'>a</textPath>"
        "<textPath xlink:href='http://127.0.0.1:9/#p'>b</textPath></text>"
    )
    kept = _sanitised(tmp_path, data)
    assert kept.count(b"href") == 1
    assert b'xml:space="preserve"' in kept
    assert b'paint-order="stroke"' in kept
    assert _sanitised(tmp_path, kept) == kept


HTML = "<p xmlns='http://www.w3.org/1999/xhtml'>Sale</p>"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f"<foreignObject width='9' height='9'>{HTML}</foreignObject>", "HTML"),
        (f"<g><foreignObject width='9' height='9'><div>{HTML}</div></foreignObject></g>", "HTML"),
        (
            "<style>@font-face{font-family:a;src:url(data:font/woff2;base64,AA)}</style><text>a</text>",
            "its own font",
        ),
        ("<text>\U0001f525</text>", "U\\+1F525"),
        ("<text>\ue000</text>", "U\\+E000"),
        ("<text>हिन्दी ✈</text>", "symbol"),
        ("<text direction='rtl'>مرحبا हिन्दी 日本</text>", "another font"),
        ("<text dx='1 2 3'>हिन्दी ไทย</text>", "one by one"),
        ("<g letter-spacing='3'><text>हिन्दी ไทย</text></g>", "one by one"),
        ("<rect width='9' height='9' style='clip-path:circle(4px)'/>", "CSS shape"),
        ("<text style='transform:rotate(9deg);transform-box:fill-box'>a</text>", "transform-box"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(PixelError, match=says) as failure:
        _drawn(tmp_path, svg(body))
    assert failure.value.code == "unsupported_type"
    assert "PNG" in failure.value.detail


def test_html_with_an_alternative_is_passed_over(tmp_path: Path) -> None:
    data = svg(
        f"<switch><foreignObject width='9' height='9'>{HTML}</foreignObject>"
        "<rect width='96' height='64' fill='blue'/></switch>"
    )
    assert _drawn(tmp_path, data).getpixel((90, 60)) == (0, 0, 255, 255)


def test_variables_that_multiply_are_refused(tmp_path: Path) -> None:
    doubled = "".join(f"--v{n}:var(--v{n - 1}) var(--v{n - 1});" for n in range(1, 30))
    with pytest.raises(PixelError, match="variables multiply"):
        _drawn(tmp_path, svg(f"<g style='--v0:red;{doubled}'/>"))


@pytest.mark.parametrize(
    "body",
    [
        f"<style>{':is(' * 300}a{')' * 300}{{fill:red}}</style>",
        f"<style>{'a{' * 3000}{'}' * 3000}</style>",
        f"<style>{'@media screen{' * 3000}{'}' * 3000}</style>",
        f"<style>@media {'(' * 2000}width{')' * 2000}{{a{{fill:red}}}}</style>",
        f"<style>@supports {'(' * 2000}fill:red{')' * 2000}{{a{{fill:red}}}}</style>",
        f"<style>a{{fill:{'(' * 20000}}}</style>",
        f"<style>{':is(' * 28}a{')' * 28}{{{'b{' * 20}{'}' * 21}</style>",
        f"<style media='{'not (' * 2000}'></style>",
        f"<rect fill='{'(' * 20000}'/>",
        f"<rect fill='{'[' * 20000}'/>",
        f"<rect style='fill:{'{' * 20000}'/>",
        f"<rect style='width:{'calc(' * 900}1px{')' * 900}'/>",
        "<g style='fill:var(--v0);--v60:red;"
        + "".join(f"--v{n}:{'(' * 20}var(--v{n + 1}){')' * 20};" for n in range(60))
        + "'/>",
    ],
)
def test_styles_that_are_nested_too_deep_are_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(PixelError, match="nested too deep"):
        _drawn(tmp_path, svg(body))


def test_styles_that_are_nested_as_people_nest_them_are_drawn(tmp_path: Path) -> None:
    sheet = "@media screen{@supports (fill:red){g{rect{&amp;:is(.a,:not(.b:is(.c))){fill:blue}}}}}"
    unread = f"<style media='{'not ' * 2000}'>rect{{fill:red}}</style>"
    body = f"<style>{sheet}</style>{unread}<g><rect class='a' width='96' height='64'/></g>"
    assert _drawn(tmp_path, svg(body)).getpixel((90, 60)) == (0, 0, 255, 255)


@pytest.mark.parametrize(
    "body",
    [
        "<g/><script/>x" * 10_000,
        "<g/><title/>x" * 10_000,
        f"<switch>{'<foreignObject/>' * 10_000}</switch>",
        image(
            "image/svg+xml",
            svg("".join(f'<g id="i{n}"/>' for n in range(5_000)) + '<g fill="url(#i1)"/>' * 5_000),
        ),
    ],
)
def test_a_long_drawing_takes_time_in_proportion(tmp_path: Path, body: str) -> None:
    started = time.process_time()
    _drawn(tmp_path, svg(body))
    assert time.process_time() - started < 6


@pytest.mark.parametrize("selector", ["*", "*:not(g)"])
def test_rules_times_elements_are_bounded(
    tmp_path: Path, selector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a tenth of the real bound, which takes ten times as long to reach."""
    monkeypatch.setattr(cascade, "MAX_STEPS", cascade.MAX_STEPS // 10)
    sheet = f"{selector}{{fill:red}}" * 1000
    with pytest.raises(PixelError, match="too many style rules"):
        _drawn(tmp_path, svg(f"<style>{sheet}</style>{'<g/>' * 2500}"))


def test_text_behind_what_is_removed_stays(tmp_path: Path) -> None:
    kept = _sanitised(tmp_path, svg("<text>a<script/>b<tspan>c</tspan>d<script/>e<script/>f</text>"))
    assert b"<text>ab<tspan>c</tspan>def</text>" in kept


def test_ids_of_a_drawing_in_a_drawing_are_its_own(tmp_path: Path) -> None:
    inner = svg("<linearGradient id='a'><stop stop-color='blue'/></linearGradient>"
                "<rect width='96' height='64' fill='url(#a)'/>")  # fmt: skip
    outer = "<linearGradient id='a'><stop stop-color='red'/></linearGradient>"
    data = svg(outer + image("image/svg+xml", inner, "width='96' height='64'"))
    assert _drawn(tmp_path, data).getpixel((90, 60)) == (0, 0, 255, 255)


def test_references_in_style_sheets_are_counted(tmp_path: Path) -> None:
    patterns = "".join(
        f"<pattern id='p{n}' width='1' height='1'>{f'<rect class=%p{n - 1}%/>' * 12}</pattern>".replace(
            "%", '"'
        )
        for n in range(1, 7)
    )
    sheet = "".join(f".p{n}{{fill:url(#p{n})}}" for n in range(7))
    with pytest.raises(PixelError, match=f"more than {MAX_DRAWN} elements"):
        _drawn(tmp_path, svg(f"<style>{sheet}</style><pattern id='p0'/>{patterns}<rect class='p6'/>"))


def test_text_without_fonts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "FOLDER", tmp_path)
    assert _drawn(tmp_path, svg("")).getpixel((5, 5)) == (0, 255, 0, 255)
    with pytest.raises(PixelError, match="op_unavailable"):
        _drawn(tmp_path, svg("<text>a</text>"))

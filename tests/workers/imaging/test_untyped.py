"""No bytes end as `internal`: every codec that an XML declaration can name, and damaged files of every format."""

from __future__ import annotations

import asyncio
import contextlib
import encodings
import gzip
import pkgutil
import random
from collections.abc import AsyncIterator
from encodings.aliases import aliases
from pathlib import Path

import pytest

from tests.hostile.make import good
from workers.imaging.pool import PixelPool
from workers.imaging.svg.raster import rasterise
from workers.imaging.svg.sanitise import sanitise
from workers.imaging.svg.size import drawing_size
from workers.imaging.types import Claim, Limits, PixelTask
from workers.pixel_errors import CODES, PixelError

pytestmark = pytest.mark.usefixtures("pixel_server")
REFUSALS = CODES - {"internal", "pixel_crash"}
CODECS = sorted(
    {*aliases, *aliases.values(), *(module.name for module in pkgutil.iter_modules(encodings.__path__))}
)
BODY = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><title>+ADw-script+AD4- \u00e9 ~{ \\x3c</title>'
    '<rect width="8" height="8"/></svg>'
)


def outcome(data: bytes, folder: Path) -> str:
    """What becomes of a drawing: `done` or the code of its refusal."""
    source, clean = folder / "source.svg", folder / "clean.svg"
    source.write_bytes(data)
    try:
        drawing_size(source, Limits())
        sanitise(source, clean, Limits())
        rasterise(clean, (8, 8))
    except PixelError as error:
        return error.code
    return "done"


def test_python_knows_many_codecs() -> None:
    assert {"utf_7", "idna", "zlib_codec", "undefined", "cp037", "punycode", "rot_13"} <= set(CODECS)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_in_an_xml_declaration_ends_in_a_picture_or_a_refusal(codec: str, tmp_path: Path) -> None:
    for name in sorted({codec, codec.upper(), codec.replace("_", "-")}):
        text = f'<?xml version="1.0" encoding="{name}"?>{BODY}'
        written = [text.encode("ascii", "replace"), text.encode("latin-1"), b"\xef\xbb\xbf" + text.encode()]
        with contextlib.suppress(LookupError, ValueError):  # a codec of bytes, or of other characters
            written.append(bytes(text, codec))
        for data in written:
            assert outcome(data, tmp_path) in REFUSALS | {"done"}, (name, data[:60])


def declared(declaration: str) -> bytes:
    return f'<?xml version="1.0" {declaration}?>{BODY}'.encode()


@pytest.mark.parametrize(
    "declaration",
    [
        'encoding=""',
        'encoding="../../etc/passwd"',
        'encoding="__init__"',
        'encoding="utf-8" encoding="utf-7"',
        'version="9.9"',
        'standalone="maybe"',
    ],
)
def test_odd_declarations_are_refused(declaration: str, tmp_path: Path) -> None:
    assert outcome(declared(declaration), tmp_path) == "corrupt_image"


@pytest.mark.parametrize("name", ["no-such-codec", "x" * 4000, "aliases", "utf-16", "utf-32", "rot13", "zip"])
def test_unknown_encodings_are_read_as_utf_8(name: str, tmp_path: Path) -> None:
    """As browsers do; no codec of Python is looked up by a name that a stranger writes."""
    data = declared(f'encoding="{name}"')
    assert outcome(data, tmp_path) == "done"
    assert outcome(data.replace(b"<title>", b"<title>\xff"), tmp_path) == "corrupt_image"


@pytest.mark.parametrize(
    "data",
    [
        *(BODY.encode(codec) for codec in ("utf-16", "utf-16-le", "utf-32", "utf-7", "cp037")),
        *(
            mark + BODY.encode()
            for mark in (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff", b"\xef\xbb", b"+/v8-")
        ),
        gzip.compress(BODY.encode()),
        BODY.encode() + b"\x00",
        BODY.encode().replace(b"title", b"ti\xfftle"),
        BODY.replace("<title>", "<title>&#xD800;").encode(),
        BODY.replace("<title>", "<title>&#0;").encode(),
        BODY.replace("<title>", "<title>&bomb;").encode(),
        BODY.replace("width", "w:idth", 1).encode(),
        b'<!DOCTYPE svg SYSTEM "file:///etc/passwd">' + BODY.encode(),
        b'<!DOCTYPE svg [<!ENTITY % x SYSTEM "http://127.0.0.1/">%x;]>' + BODY.encode(),
        b'<!DOCTYPE svg [<!ATTLIST svg width CDATA "8">]>' + BODY.encode(),
        b"<svg" * 3000,
        b'<svg xmlns="http://www.w3.org/2000/svg" width="1e999" height="-1e999" viewBox="nan inf 0 0"/>',
    ],
)
def test_odd_drawings_end_in_a_picture_or_a_refusal(data: bytes, tmp_path: Path) -> None:
    assert outcome(data, tmp_path) in REFUSALS | {"done"}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one kind of damage: cut, flipped, filled, doubled, or a number made large."""
    at = chance.randrange(len(data))
    length = min(chance.choice((1, 2, 4, 16, 256)), len(data) - at)
    before, part, after = data[:at], data[at : at + length], data[at + length :]
    match chance.randrange(5):
        case 0:
            return before
        case 1:
            return before + bytes(byte ^ 1 << chance.randrange(8) for byte in part) + after
        case 2:
            return before + chance.randbytes(length) + after
        case 3:
            return before + part * 3 + after
        case _:
            return before + b"\xff" * length + after


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[PixelPool]:
    async with PixelPool(
        workers=2, memory_mb=768, seconds=30, entry="tests.workers.imaging.entries:whole"
    ) as started:
        yield started


@pytest.mark.parametrize("form", ["jpg", "png", "webp", "gif", "tif", "bmp", "avif", "heic", "svg"])
async def test_damaged_files_end_in_a_picture_or_a_refusal(
    form: str, pool: PixelPool, tmp_path: Path
) -> None:
    chance = random.Random(form)
    whole = BODY.encode() if form == "svg" else good(form)

    async def end(number: int) -> str:
        workdir = tmp_path / str(number)
        workdir.mkdir()
        source = workdir / "source"
        size = 64 if number % 2 else len(whole)  # half of the damage to the header
        source.write_bytes(damaged(whole[:size], chance) + whole[size:])
        try:
            await pool.run(PixelTask(source, workdir, "", Claim(96, 64)))
        except PixelError as error:
            return (
                f"{error.code}: {error.detail}" if error.code in {"internal", "pixel_crash"} else error.code
            )
        return "done"

    ends = await asyncio.gather(*(end(number) for number in range(40)))
    assert set(ends) <= REFUSALS | {"done"}

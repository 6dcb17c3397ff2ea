"""Small pictures of every kind that Chromium shows and that says something about its numbers: colour spaces, depths,
transparency, canvases, orientation."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from tests.hostile.make import chunk

SIZE: Final = 64
_ADOBE_RGB: Final = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, and how far (mean of all channels, 0..255) it may be from what Chromium shows."""

    name: str
    content_type: str
    data: bytes
    tolerance: float = 1.0


def samples() -> Iterator[Sample]:
    yield from _png_colours()
    yield from _png_depths()
    yield from _avif()
    yield from _profiles()
    yield from _oriented()
    yield from _gif()
    yield from _bmp()
    yield from _jpeg()


def ramps() -> Image.Image:
    """Hues from dark to bright, greys, and colours at the edge of the space."""
    steps = np.linspace(0, 255, SIZE)
    rows = [
        (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0.4, 0.2), (0.6, 0.7, 1),
    ]  # fmt: skip
    bands = [np.outer(steps, row) for row in rows for _ in range(SIZE // len(rows))]
    return Image.fromarray(np.stack(bands).round().astype(np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(*before: bytes, image: Image.Image | None = None, **options: Any) -> bytes:
    """A PNG with chunks put in behind its header."""
    data = saved(image or ramps(), "PNG", **options)
    return data[:33] + b"".join(before) + data[33:]


def raw_png(depth: int, colour_type: int, rows: list[bytes], *before: bytes) -> bytes:
    """A PNG of SIZE by SIZE of packed rows."""
    header = struct.pack(">IIBBBBB", SIZE, SIZE, depth, colour_type, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(before)
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def chrm(values: tuple[int, ...] = _ADOBE_RGB) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *values))


def _png_colours() -> Iterator[Sample]:
    cases = {
        "no colours": (),
        "gAMA 1.0": (gama(1),),
        "gAMA of sRGB": (gama(0.45455),),
        "gAMA 0": (gama(0),),
        "gAMA 1/1.8": (gama(1 / 1.8),),
        "cHRM alone": (chrm(),),
        "gAMA and cHRM": (gama(0.45455), chrm()),
        "sRGB before gAMA and cHRM": (chunk(b"sRGB", b"\0"), gama(1), chrm()),
        "iCCP before gAMA": (gama(1), chunk(b"iCCP", b"p\0\0" + zlib.compress(display_p3()))),
        "cICP before iCCP": (cicp(1, 13), chunk(b"iCCP", b"p\0\0" + zlib.compress(display_p3()))),
        "cICP unspecified": (cicp(2, 2), gama(1)),
        "iCCP that is none": (chunk(b"iCCP", b"p\0\0" + zlib.compress(b"none" * 99)), gama(1)),
    }
    for name, chunks in cases.items():
        yield Sample(f"PNG {name}", "image/png", png(*chunks))
    for primaries, transfer in (
        *((primaries, 13) for primaries in (4, 5, 6, 7, 9, 11, 12)),
        *((primaries, transfer) for primaries in (1, 9, 12) for transfer in (16, 18)),
        *((1, transfer) for transfer in (1, 4, 5, 6, 8, 14, 15, 17)),
    ):
        yield Sample(f"PNG cICP {primaries}/{transfer}", "image/png", png(cicp(primaries, transfer)), 1.5)


def _png_depths() -> Iterator[Sample]:
    half = SIZE // 2
    for depth in (1, 2, 4):
        values = [index * 2**depth // SIZE for index in range(SIZE)]
        row = bytes(
            sum(value << (8 - depth * (at + 1)) for at, value in enumerate(values[byte : byte + 8 // depth]))
            for byte in range(0, SIZE, 8 // depth)
        )
        for key in range(min(4, 2**depth)):
            trns = chunk(b"tRNS", bytes([0, key]))
            yield Sample(
                f"PNG grey {depth} bit, {key} transparent", "image/png", raw_png(depth, 0, [row] * SIZE, trns)
            )
    grey = b"".join(struct.pack(">H", index * 1000) for index in range(SIZE))
    yield Sample("PNG grey 16 bit", "image/png", raw_png(16, 0, [grey] * SIZE))
    trns = chunk(b"tRNS", struct.pack(">H", 7000))
    yield Sample("PNG grey 16 bit, one transparent", "image/png", raw_png(16, 0, [grey] * SIZE, trns))
    # The two differ in their lower bytes only.
    colour = bytes.fromhex("123456789abc") * half + bytes.fromhex("123556799abd") * half
    trns = chunk(b"tRNS", bytes.fromhex("123456789abc"))
    yield Sample("PNG RGB 16 bit, one transparent", "image/png", raw_png(16, 2, [colour] * SIZE, trns))
    trns = chunk(b"tRNS", struct.pack(">3H", 252, 252, 252))
    yield Sample("PNG RGB 8 bit, one transparent", "image/png", png(trns))
    trns = chunk(b"tRNS", bytes([0, 200]))
    eight = bytes(index * 4 for index in range(SIZE))
    yield Sample("PNG grey 8 bit, one transparent", "image/png", raw_png(8, 0, [eight] * SIZE, trns))
    yield Sample("PNG grey and alpha", "image/png", saved(ramps().convert("LA"), "PNG"))
    keyed = ramps().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    yield Sample("PNG palette", "image/png", saved(keyed, "PNG", transparency=bytes(range(0, 160, 10))))


def avif(primaries: int, transfer: int, **options: Any) -> bytes:
    """An AVIF whose nclx property says so."""
    data = bytearray(saved(ramps(), "AVIF", quality=100, subsampling="4:4:4", **options))
    at = data.index(b"nclx") + 4
    data[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(data)


def _avif() -> Iterator[Sample]:
    for primaries, transfer in (
        (1, 13), (2, 2), (1, 1), (9, 1), (9, 6), (9, 14), (12, 13), (12, 2), (2, 13), (1, 4), (1, 7), (1, 8),
        (9, 16), (9, 18), (12, 16),
    ):  # fmt: skip
        yield Sample(f"AVIF nclx {primaries}/{transfer}", "image/avif", avif(primaries, transfer), 2)
    yield Sample("AVIF ICC before nclx", "image/avif", avif(9, 16, icc_profile=display_p3()), 2)


def display_p3(gamma: float | None = None) -> bytes:
    """An ICC profile of Display P3 made here: its primaries adapted to D50, the sRGB curve or a gamma."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.515102, 0.241182, -0.001050),
        b"gXYZ": (0.291965, 0.692236, 0.041882),
        b"bXYZ": (0.157153, 0.066582, 0.784378),
    }
    for at in range(132, 132 + 12 * int.from_bytes(srgb[128:132], "big"), 12):
        offset = int.from_bytes(srgb[at + 4 : at + 8], "big")
        if (values := primaries.get(bytes(srgb[at : at + 4]))) is not None:
            for number, value in enumerate(values):
                fixed = round(value * 65536).to_bytes(4, "big", signed=True)
                srgb[offset + 8 + 4 * number : offset + 12 + 4 * number] = fixed
        elif gamma is not None and srgb[at : at + 4] == b"rTRC":
            srgb[offset : offset + 16] = b"para" + bytes(8) + struct.pack(">I", round(gamma * 65536))
    return bytes(srgb)


def grey_profile(gamma: float) -> bytes:
    """An ICC profile for greys, of version 2."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"g\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061),
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def _profiles() -> Iterator[Sample]:
    colour, grey = ramps(), ramps().convert("L")
    alpha = colour.convert("RGBA")
    alpha.putalpha(grey)
    for form, options in (
        ("PNG", {}),
        ("JPEG", {"quality": 98, "subsampling": 0}),
        ("WEBP", {"lossless": True}),
    ):
        for name, image, profile in (
            ("Display P3", colour, display_p3()),
            ("a grey profile that is not its own", colour, grey_profile(1.0)),
            ("grey, gamma 1.0", grey, grey_profile(1.0)),
            ("grey, gamma 1.8", grey, grey_profile(1.8)),
            ("grey with a profile for colours", grey, display_p3(1.0)),
            ("Display P3 with alpha", alpha, display_p3()),
            ("grey and alpha", alpha.convert("LA"), grey_profile(1.0)),
        ):
            if (form == "JPEG" and "alpha" in name) or (form == "WEBP" and "grey" in name):
                continue
            data = saved(image, form, icc_profile=profile, **options)
            yield Sample(f"{form} {name}", f"image/{form.lower()}", data, 1.5)


def _oriented() -> Iterator[Sample]:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = ramps().crop((0, 0, 64, 48))
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    for form in ("JPEG", "WEBP", "AVIF"):
        kind = f"image/{form.lower()}"
        yield Sample(f"{form} turned by XMP alone", kind, saved(picture, form, quality=98, xmp=xmp), 3)
        yield Sample(f"{form} turned by EXIF", kind, saved(picture, form, quality=98, exif=exif.tobytes()), 3)
    turned = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = saved(picture, "PNG")
    yield Sample("PNG turned by eXIf", "image/png", data[:33] + turned + data[33:])
    yield Sample("PNG with eXIf behind its picture", "image/png", data[:-12] + turned + data[-12:])


def gif(
    canvas: tuple[int, int], frame: tuple[int, int, int, int], *, transparent: int | None = None
) -> bytes:
    """A GIF of one frame (left, top, width, height) on a canvas whose background colour is blue."""
    pixels = Image.new("P", frame[2:], 1)
    pixels.paste(2, (0, 0, frame[2] // 2, frame[3] // 2))
    pixels.putpalette([0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 255])
    own = saved(pixels, "GIF", optimize=False)
    at = own.index(b",\0\0\0\0", 13)
    packed = own[at + 10 + (3 * 2 ** ((own[at + 9] & 7) + 1) if own[at + 9] & 0x80 else 0) :]
    palette = bytes([0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 255])
    control = b"" if transparent is None else b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    place = struct.pack("<HHHHB", *frame, 0)
    return b"GIF89a" + struct.pack("<HHBBB", *canvas, 0xF1, 0, 0) + palette + control + b"," + place + packed


def _gif() -> Iterator[Sample]:
    for name, canvas, frame, transparent in (
        ("inside its canvas", (64, 64), (16, 16, 32, 32), None),
        ("inside its canvas, one transparent", (64, 64), (16, 16, 32, 32), 2),
        ("of its canvas", (64, 64), (0, 0, 64, 64), None),
        ("of its canvas, one transparent", (64, 64), (0, 0, 64, 64), 2),
        ("beyond its canvas", (48, 48), (0, 0, 64, 64), None),
        ("at the edge of its canvas", (64, 64), (32, 0, 32, 64), None),
    ):
        yield Sample(f"GIF with a frame {name}", "image/gif", gif(canvas, frame, transparent=transparent))


def bmp(bits: int, of: tuple[int, int, int, int], *, size: int = 124, top_down: bool = False) -> bytes:
    """A BMP of bit masks with the ramps in it, and alpha from left to right."""
    colours = np.asarray(ramps()).astype(np.uint32)
    if not top_down:
        colours = colours[::-1]
    alpha = np.broadcast_to(np.linspace(0, 255, SIZE).astype(np.uint32), (SIZE, SIZE))
    values = np.zeros((SIZE, SIZE), np.uint32)
    for band, mask in zip((*np.moveaxis(colours, 2, 0), alpha), of, strict=True):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            values |= (band * (mask >> shift) // 255) << shift
    body = values.astype("<u2" if bits == 16 else "<u4").tobytes()
    height = -SIZE if top_down else SIZE
    header = struct.pack("<IiiHHIIiiII", size, SIZE, height, 1, bits, 3, len(body), 0, 0, 0, 0)
    header += struct.pack("<4I", *of) + b" niW"
    header = header.ljust(max(size, 52), b"\0")[: max(size, 52)]
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


def _bmp() -> Iterator[Sample]:
    for name, bits, of in (
        ("ARGB1555", 16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
        ("ARGB4444", 16, (0xF00, 0xF0, 0xF, 0xF000)),
        ("RGB565", 16, (0xF800, 0x7E0, 0x1F, 0)),
        ("RGB444", 16, (0xF00, 0xF0, 0xF, 0)),
        ("BGR565", 16, (0x1F, 0x7E0, 0xF800, 0)),
        ("ARGB8888", 32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        ("RGBA8888", 32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
        ("ABGR8888", 32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        ("ARGB2101010", 32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    ):
        yield Sample(f"BMP {name}", "image/bmp", bmp(bits, of), 2)
        yield Sample(f"BMP {name} from the top", "image/bmp", bmp(bits, of, top_down=True), 2)
    yield Sample("BMP RGB565 of version 3", "image/bmp", bmp(16, (0xF800, 0x7E0, 0x1F, 0), size=40), 2)


def _jpeg() -> Iterator[Sample]:
    colour = ramps()
    for name, image, options in (
        ("baseline", colour, {}),
        ("progressive", colour, {"progressive": True}),
        ("RGB inside", colour, {"keep_rgb": True}),
        ("grey", colour.convert("L"), {}),
        ("CMYK", colour.convert("CMYK"), {}),
    ):
        yield Sample(f"JPEG {name}", "image/jpeg", saved(image, "JPEG", quality=98, **options), 2.5)

"""Layouts of pixels that decoders trip over: transparent colours, canvases, bit masks, deep greys, tails."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.chromium.samples import SIZE, bmp, gif, ramps, raw_png, saved
from tests.hostile.make import chunk
from tests.workers.imaging.test_colours import decoded
from workers.pixel_errors import PixelError


def transparent(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a decoded picture is transparent, in its middle row."""
    row: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(picture.convert("RGBA"))[SIZE // 2, :, 3] == 0
    return row


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_of_a_png(depth: int, tmp_path: Path) -> None:
    levels = 2**depth
    values = np.arange(SIZE) * levels // SIZE
    bits = np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    rows = [np.packbits(bits.reshape(-1)).tobytes()] * SIZE
    key = levels // 2
    picture = decoded(raw_png(depth, 0, rows, chunk(b"tRNS", struct.pack(">H", key))), tmp_path)
    assert (transparent(picture) == (values == key)).all()
    greys = np.asarray(picture.convert("RGB"))[0, :, 0]
    assert (greys == np.round(values * 255 / (levels - 1))).all()
    # A key that no value can have is none.
    assert not transparent(decoded(raw_png(depth, 0, rows, chunk(b"tRNS", b"\x01\xff")), tmp_path)).any()


def test_a_transparent_colour_of_sixteen_bits(tmp_path: Path) -> None:
    grey = b"".join(struct.pack(">H", 0x1200 + index) for index in range(SIZE))
    picture = decoded(raw_png(16, 0, [grey] * SIZE, chunk(b"tRNS", b"\x12\x07")), tmp_path)
    assert (transparent(picture) == (np.arange(SIZE) == 7)).all()
    colour = bytes.fromhex("123456789abc") * 32 + bytes.fromhex("123556799abd") * 32
    key = chunk(b"tRNS", bytes.fromhex("123456789abc"))
    picture = decoded(raw_png(16, 2, [colour] * SIZE, key), tmp_path)
    assert (transparent(picture) == (np.arange(SIZE) < 32)).all()
    assert picture.getpixel((40, 5)) == (0x12, 0x56, 0x9A, 255)


def test_the_animation_of_a_png_counts_not_the_picture_hidden_before_it(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "lime", "blue")]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert decoded(data, tmp_path).getpixel((5, 5)) == (0, 255, 0)
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert decoded(data, tmp_path).getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("key", [None, 2])
def test_what_a_gif_does_not_draw_is_transparent(key: int | None, tmp_path: Path) -> None:
    picture = decoded(gif((64, 64), (16, 16, 32, 32), transparent=key), tmp_path)
    assert [picture.getpixel(at) for at in ((5, 5), (60, 30), (40, 40))] == [
        (0, 0, 0, 0), (0, 0, 0, 0), (0, 255, 0, 255),
    ]  # fmt: skip
    assert picture.getpixel((20, 20))[3] == (255 if key is None else 0)  # type: ignore[index]
    assert decoded(gif((64, 64), (0, 0, 64, 64)), tmp_path).mode == "RGB"


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
        (16, (0xF00, 0xF0, 0xF, 0xF000)),
        (16, (0xF800, 0x7E0, 0x1F, 0)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
        (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    ],
)
def test_bit_masks_of_a_bmp(
    bits: int, masks: tuple[int, int, int, int], top_down: bool, tmp_path: Path
) -> None:
    picture = decoded(bmp(bits, masks, top_down=top_down), tmp_path).convert("RGBA")
    coarse = 255 / (2 ** min(mask.bit_count() for mask in masks[:3]) - 1) + 1
    got = np.asarray(picture).astype(int)
    assert np.abs(got[..., :3] - np.asarray(ramps()).astype(int)).max() <= coarse
    alpha = np.linspace(0, 255, SIZE) if masks[3] else np.full(SIZE, 255)
    step = 255 / (2 ** masks[3].bit_count() - 1) if masks[3] else 0
    assert np.abs(got[5, :, 3] - alpha).max() <= step


RAMP = np.tile(np.linspace(0, 1, SIZE), (SIZE, 1))


@pytest.mark.parametrize(
    ("values", "tags", "middle"),
    [
        (np.full((SIZE, SIZE), 0x1000, np.uint16), {262: 0}, 239),
        (np.full((SIZE, SIZE), 0x1000, np.uint16), {}, 16),
        (np.full((SIZE, SIZE), 0x1000, ">u2"), {}, 16),
        (RAMP.astype(np.float32), {}, 128),
        (np.where(RAMP == 1, 1.05, RAMP).astype(np.float32), {}, 128),
        (np.where(RAMP == 0, np.nan, RAMP).astype(np.float32), {}, 128),
        ((RAMP * 255).astype(np.float32), {}, 128),
        ((RAMP * 62000).astype(np.float32), {}, 121),
        ((RAMP * 255).astype(np.int32), {}, 128),
        ((RAMP * 65535).astype(np.int32), {}, 128),
        ((RAMP * (2**31 - 1)).astype(np.int32), {}, 128),
        (RAMP.astype(np.float32), {262: 0}, 127),
    ],
)
def test_deep_greys_of_a_tiff(
    values: np.ndarray[Any, Any], tags: dict[int, int], middle: int, tmp_path: Path
) -> None:
    if values.dtype == ">u2":
        data = big_endian_tiff(values, photometric=1)
    else:
        data = saved(Image.fromarray(values), "TIFF", tiffinfo=tags)
    got = decoded(data, tmp_path).getpixel((32, 32))
    assert isinstance(got, tuple)
    assert abs(got[0] - middle) <= 3


def big_endian_tiff(values: np.ndarray[Any, Any], **tags: int) -> bytes:
    """A TIFF of one strip. tags: photometric, samples (of a pixel), sample_format, extra."""
    samples = tags.get("samples", 1)
    body = values.tobytes()
    bits = values.dtype.itemsize * 8
    entries = [
        (256, 4, 1, SIZE), (257, 4, 1, SIZE), (258, 3, 1, bits << 16), (259, 3, 1, 1 << 16),
        (262, 3, 1, tags["photometric"] << 16), (273, 4, 1, 8), (277, 3, 1, samples << 16),
        (278, 4, 1, SIZE), (279, 4, 1, len(body)),
    ]  # fmt: skip
    if "extra" in tags:
        entries.append((338, 3, 1, tags["extra"] << 16))
    if "sample_format" in tags:
        entries.append((339, 3, 1, tags["sample_format"] << 16))
    directory = struct.pack(">H", len(entries))
    directory += b"".join(struct.pack(">HHII", *entry) for entry in entries) + bytes(4)
    return b"MM\0*" + struct.pack(">I", 8 + len(body)) + body + directory


def test_white_as_zero_in_a_big_endian_tiff(tmp_path: Path) -> None:
    data = big_endian_tiff(np.full((SIZE, SIZE), 0x1000, ">u2"), photometric=0)
    assert decoded(data, tmp_path).getpixel((5, 5)) == (239, 239, 239)


@pytest.mark.parametrize(
    "data",
    [
        big_endian_tiff(np.zeros((SIZE, SIZE), ">f2"), photometric=1, sample_format=3),
        big_endian_tiff(np.zeros((SIZE, SIZE, 3), ">f4"), photometric=2, samples=3, sample_format=3),
        big_endian_tiff(np.zeros((SIZE, SIZE, 3), ">u2"), photometric=8, samples=3),
        big_endian_tiff(np.zeros((SIZE, SIZE, 2), ">u2"), photometric=1, samples=2, extra=2),
        big_endian_tiff(np.zeros((SIZE, SIZE), ">u2"), photometric=1).replace(
            b"\x01\x03\0\x03\0\0\0\1\0\1", b"\x01\x03\0\x03\0\0\0\1\x87\x4d"
        ),
        bmp(16, (0x7C00, 0x3E0, 0x1F, 0))[:28] + b"\x0b" + bmp(16, (0x7C00, 0x3E0, 0x1F, 0))[29:],
    ],
    ids=["half floats", "RGB floats", "Lab of 16 bits", "grey and alpha of 16 bits", "JPEG XR inside", "11 bit BMP"],
)  # fmt: skip
def test_a_sound_file_that_is_not_read_is_not_called_damaged(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(PixelError) as failure:
        decoded(data, tmp_path)
    assert failure.value.code == "unsupported_type"
    assert "of a kind that is not supported" in failure.value.detail
    assert "unknown pixel mode" not in failure.value.detail


def noisy_jpeg(**options: Any) -> bytes:
    noise = np.random.default_rng(5).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise), "JPEG", quality=90, **options)


@pytest.mark.parametrize("progressive", [False, True])
def test_only_the_stream_of_a_motion_photo_itself_counts(progressive: bool, tmp_path: Path) -> None:
    film = b"\xff\xda" * 5000 + np.random.default_rng(1).bytes(100_000)
    data = noisy_jpeg(progressive=progressive)
    assert decoded(data + film, tmp_path).tobytes() == decoded(data, tmp_path).tobytes()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_may_lack_its_end_marker_but_not_its_pixels(progressive: bool, tmp_path: Path) -> None:
    data = noisy_jpeg(progressive=progressive)
    assert decoded(data[:-2], tmp_path).tobytes() == decoded(data, tmp_path).tobytes()
    scan = data.rindex(b"\xff\xda")
    for cut in (data[:-100], data[: scan + 40], data[:scan], data[: len(data) // 2]):
        with pytest.raises(PixelError) as failure:
            decoded(cut, tmp_path)
        assert failure.value.code == "corrupt_image"


def test_xmp_turns_nothing_and_exif_turns_what_browsers_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    wide = ramps().crop((0, 0, 64, 32))
    png = saved(wide, "PNG")
    turned = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for data, size in (
        (saved(wide, "JPEG", xmp=xmp), (64, 32)),
        (saved(wide, "WEBP", xmp=xmp), (64, 32)),
        (saved(wide, "TIFF", tiffinfo={700: xmp}), (64, 32)),
        (saved(wide, "WEBP", exif=exif.tobytes()), (64, 32)),
        (saved(wide, "JPEG", exif=exif.tobytes()), (32, 64)),
        (saved(wide, "AVIF", exif=exif.tobytes()), (32, 64)),
        (png[:33] + turned + png[33:], (32, 64)),
        (png[:-12] + turned + png[-12:], (64, 32)),
    ):
        assert decoded(data, tmp_path, (64, 32)).size == size


def test_a_png_whose_data_is_cut_off_is_refused(tmp_path: Path) -> None:
    rows = [np.random.default_rng(row).bytes(3 * SIZE) for row in range(SIZE)]
    data = raw_png(8, 2, rows)
    for cut in (data[:-40], data[: len(data) // 2], data[:60]):
        with pytest.raises(PixelError) as failure:
            decoded(cut, tmp_path)
        assert failure.value.code == "corrupt_image"
    assert decoded(data[:-12], tmp_path).size == (SIZE, SIZE)  # its end marker alone is no loss

"""What decode() delivers is upright, sRGB, bare, and of the size asked for: checked by its pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from tests.chromium.samples import display_p3
from tests.hostile.make import chunk, png
from tests.workers.imaging.conftest import QUARTERS, Store, corners, near
from workers.imaging.decode import decode
from workers.imaging.resize import fit_size
from workers.imaging.types import Claim, Limits
from workers.imaging.verify import verify
from workers.pixel_errors import PixelError

pillow_heif.register_heif_opener()  # so that Pillow can write the sources

_ORIENTATION = 0x0112
# For each EXIF value, what has to be done to an upright picture so that it is stored that way.
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _stored(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    turn = _STORED[orientation]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return (picture if turn is None else picture.transpose(turn)), exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "AVIF", "HEIF", "TIFF"])
def test_orientation_is_baked_in(store: Store, quarters: Image.Image, orientation: int, form: str) -> None:
    picture, exif = _stored(quarters, orientation)
    options: dict[str, object] = {"quality": 95} if form in {"JPEG", "AVIF", "HEIF"} else {}
    if form == "HEIF":  # turned by its own boxes, which the encoder writes for the EXIF of the picture
        picture = picture.copy()
        picture.info["exif"] = exif.tobytes()
    else:
        options["exif"] = exif
    path, info = store(picture, form, **options)
    assert info.oriented == (120, 80)
    decoded = decode(path, info)
    assert (decoded.size, decoded.mode) == ((120, 80), "RGB")
    assert all(near(got, wanted) for got, wanted in zip(corners(decoded), QUARTERS, strict=True))


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_smaller_size_is_asked_for_upright(store: Store, quarters: Image.Image, orientation: int) -> None:
    picture, exif = _stored(quarters, orientation)
    path, info = store(picture, "JPEG", exif=exif, quality=95)
    by_side, by_size = decode(path, info, 60), decode(path, info, size=(90, 20))
    assert (by_side.size, by_size.size) == ((60, 40), (90, 20))
    for decoded in (by_side, by_size):
        assert all(near(got, wanted) for got, wanted in zip(corners(decoded), QUARTERS, strict=True))


def test_it_never_enlarges(store: Store, quarters: Image.Image) -> None:
    path, info = store(quarters, "JPEG")
    assert decode(path, info, 4000).size == (120, 80)
    assert decode(path, info, size=(121, 40)).size == (120, 80)


@pytest.mark.parametrize(
    ("size", "side", "fitted"),
    [((4000, 3000), 1024, (1024, 768)), ((3000, 1), 100, (100, 1)), ((99, 100), 100, (99, 100))],
)
def test_fit_size(size: tuple[int, int], side: int, fitted: tuple[int, int]) -> None:
    assert fit_size(size, side) == fitted


def test_a_heic_photo_is_decoded(tmp_path: Path, quarters: Image.Image) -> None:
    path = tmp_path / "photo.heic"
    pillow_heif.from_pillow(quarters).save(path, quality=95)
    info = verify(path, Claim(120, 80), Limits())
    assert (info.format, info.content_type, info.frames) == ("HEIF", "image/heic", 1)
    assert all(
        near(got, wanted, 16) for got, wanted in zip(corners(decode(path, info)), QUARTERS, strict=True)
    )


def test_metadata_is_gone(store: Store, quarters: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    path, info = store(quarters, "JPEG", exif=exif, xmp=b"<x:xmpmeta/>", comment="secret", dpi=(300, 300))
    assert b"secret" in path.read_bytes()
    decoded = decode(path, info)
    assert decoded.info == {}
    assert dict(decoded.getexif()) == {}


@pytest.mark.parametrize("max_side", [None, 60])
def test_wide_gamut_colours_become_their_srgb_values(store: Store, max_side: int | None) -> None:
    """Display P3 (200, 100, 50) is sRGB (213, 97, 36) by the two spaces' own matrices."""
    picture = Image.new("RGB", (120, 80), (200, 100, 50))
    path, info = store(picture, "PNG", icc_profile=display_p3())
    decoded = decode(path, info, max_side)
    got = decoded.getpixel((10, 10))
    assert isinstance(got, tuple)
    assert near(got, _p3_to_srgb((200, 100, 50)), 2)
    assert not near(got, (200, 100, 50), 8)


def _p3_to_srgb(colour: tuple[int, int, int]) -> tuple[int, ...]:
    encoded = np.array(colour) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]
    )  # CSS Color 4, Display P3 to linear sRGB
    linear = np.clip(matrix @ linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return tuple(int(value) for value in np.round(encoded * 255))


def test_srgb_pixels_pass_untouched(store: Store, quarters: Image.Image) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path, info = store(quarters, "PNG", icc_profile=srgb)
    assert decode(path, info).tobytes() == quarters.tobytes()


def test_a_sixteen_bit_grey_is_scaled_not_clipped(store: Store) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (16, 1))
    path, info = store(Image.fromarray(ramp), "PNG")
    decoded = np.asarray(decode(path, info))[0]
    assert np.abs(decoded[:, 0].astype(int) - np.arange(256)).max() <= 1
    assert (decoded[:, 0] == decoded[:, 2]).all()


def test_sixteen_bit_colour_keeps_its_tone(tmp_path: Path) -> None:
    row = b"\0" + b"".join(
        struct.pack(">HHH", level * 257, 65535 - level * 257, 0x8040) for level in range(256)
    )
    path = tmp_path / "deep.png"
    path.write_bytes(png(256, 4, chunk(b"IDAT", zlib.compress(row * 4)), depth=16))
    decoded = np.asarray(decode(path, verify(path, Claim(256, 4), Limits())))[2].astype(int)
    wanted = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 0x80)], axis=1)
    assert np.abs(decoded - wanted).max() <= 1


def test_float_greys_are_read_as_zero_to_one(store: Store) -> None:
    ramp = np.tile(np.linspace(0, 1, 256).astype(np.float32), (16, 1))
    path, info = store(Image.fromarray(ramp), "TIFF")
    assert np.abs(np.asarray(decode(path, info))[0, :, 1].astype(int) - np.arange(256)).max() <= 1


def test_cmyk_is_the_colour_it_prints(store: Store) -> None:
    path, info = store(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG", quality=95)
    decoded = decode(path, info)
    got = decoded.getpixel((20, 20))
    assert decoded.mode == "RGB"
    assert isinstance(got, tuple)
    assert near(got, (255, 0, 0), 6)


def test_lab_is_the_colour_it_measures(store: Store) -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (40, 40), (180, 90, 60)), to_lab)
    assert lab is not None
    path, info = store(lab, "TIFF")
    got = decode(path, info).getpixel((20, 20))
    assert isinstance(got, tuple)
    assert near(got, (180, 90, 60), 4)


def test_one_bit_and_grey_become_rgb(store: Store) -> None:
    for mode, value in (("1", 1), ("L", 255)):
        path, info = store(Image.new(mode, (40, 40), value), "PNG")
        decoded = decode(path, info, 20)
        assert (decoded.mode, decoded.size, decoded.getpixel((5, 5))) == ("RGB", (20, 20), (255, 255, 255))


@pytest.mark.parametrize("mode", ["P", "RGB", "L", "LA", "PA"])
def test_every_kind_of_transparency_becomes_alpha(store: Store, mode: str) -> None:
    rgba = Image.new("RGBA", (40, 40), (200, 200, 200, 255))
    rgba.paste((0, 0, 0, 0), (0, 0, 20, 40))
    options: dict[str, object] = {}
    if mode in {"P", "PA"}:
        picture = rgba.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
        options["transparency"] = picture.getpixel((5, 5))
    elif mode in {"RGB", "L"}:
        picture = rgba.convert("RGB").convert(mode)
        options["transparency"] = picture.getpixel((5, 5))
    else:
        picture = rgba.convert(mode)
    path, info = store(picture, "PNG", **options)
    decoded = decode(path, info)
    assert decoded.mode == "RGBA"
    assert decoded.getpixel((30, 20)) == (200, 200, 200, 255)
    assert decoded.getchannel("A").getpixel((5, 20)) == 0


def test_an_alpha_channel_without_a_hole_is_dropped(store: Store) -> None:
    path, info = store(Image.new("RGBA", (40, 40), (9, 8, 7, 255)), "PNG")
    assert decode(path, info).mode == "RGB"


def test_what_hides_under_transparency_does_not_bleed(store: Store) -> None:
    """White on transparent black, halved: no edge pixel may darken."""
    picture = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (33, 33, 101, 101))
    path, info = store(picture, "PNG")
    decoded = np.asarray(decode(path, info, 77))
    visible = decoded[decoded[..., 3] > 8]
    assert len(visible) > 100
    assert visible[:, :3].min() >= 250


def test_animations_and_pages_give_their_first(store: Store, quarters: Image.Image) -> None:
    others = [Image.new("RGB", quarters.size, colour) for colour in ("magenta", "cyan")]
    for form in ("GIF", "WEBP", "AVIF", "TIFF"):
        path, info = store(quarters, form, save_all=True, append_images=others)
        assert info.frames == 3
        decoded = decode(path, info)
        assert decoded.size == (120, 80)
        assert all(near(got, wanted, 40) for got, wanted in zip(corners(decoded), QUARTERS, strict=True)), (
            form
        )


def test_a_phone_photo_with_a_second_picture_inside_is_a_jpeg(store: Store, quarters: Image.Image) -> None:
    """Multi-picture JPEGs (depth maps, gain maps) keep their main picture first."""
    path, _ = store(quarters, "MPO", save_all=True, append_images=[quarters.resize((60, 40))], quality=95)
    info = verify(path, Claim(120, 80), Limits())
    assert (info.format, info.frames) == ("JPEG", 1)
    assert all(
        near(got, wanted) for got, wanted in zip(corners(decode(path, info, 90)), QUARTERS, strict=True)
    )


def test_a_file_that_changed_after_verification_is_refused(store: Store, quarters: Image.Image) -> None:
    path, info = store(quarters, "PNG")
    quarters.resize((60, 40)).save(path, "PNG")
    with pytest.raises(PixelError) as failure:
        decode(path, info)
    assert failure.value.code == "corrupt_image"


def test_a_big_endian_tiff_of_many_strips(tmp_path: Path, quarters: Image.Image) -> None:
    path = tmp_path / "strips.tif"
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[278] = 8
    quarters.save(path, "TIFF", compression="tiff_lzw", tiffinfo=tags)
    info = verify(path, Claim(120, 80), Limits())
    assert decode(path, info).tobytes() == quarters.tobytes()

"""Colours that a file names beside its numbers. The expected values were read from Chromium; tests/chromium compares
many more with the Chromium of the machine."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.chromium.samples import avif, chrm, cicp, display_p3, gama, grey_profile, png, saved
from tests.hostile.make import chunk
from workers.imaging import colour_space
from workers.imaging.decode import decode
from workers.imaging.types import Claim, Limits
from workers.imaging.verify import verify

pillow_heif.register_heif_opener()  # so that Pillow can write the sources


def decoded(data: bytes, tmp_path: Path, size: tuple[int, int] = (64, 64)) -> Image.Image:
    path = tmp_path / "source"
    path.write_bytes(data)
    return decode(path, verify(path, Claim(*size), Limits()))


def flat(colour: tuple[int, int, int] | int) -> Image.Image:
    return Image.new("RGB" if isinstance(colour, tuple) else "L", (64, 64), colour)


def apart(picture: Image.Image, colour: tuple[int, int, int], at: tuple[int, int] = (5, 5)) -> int:
    """By how many levels a pixel differs from a colour."""
    got = picture.convert("RGB").getpixel(at)
    assert isinstance(got, tuple)
    return max(abs(one - other) for one, other in zip(got, colour, strict=True))


P3 = chunk(b"iCCP", b"p\0\0" + zlib.compress(display_p3()))


@pytest.mark.parametrize(
    ("colour", "chunks", "shown"),
    [
        ((55, 55, 55), [gama(1)], (128, 128, 128)),
        ((30, 100, 180), [gama(0.5)], (31, 109, 187)),
        ((30, 100, 180), [gama(0.46)], (30, 100, 180)),
        ((30, 100, 180), [gama(0)], (30, 100, 180)),
        ((100, 200, 100), [gama(0.45455), chrm()], (0, 201, 92)),
        ((100, 200, 100), [chrm()], (100, 200, 100)),
        ((100, 200, 100), [gama(1), chrm(), chunk(b"sRGB", b"\0")], (100, 200, 100)),
        ((100, 200, 100), [gama(1), chrm((31270, 0, 64000, 33000, 30000, 60000, 15000, 6000))], (168, 229, 168)),
        ((200, 60, 60), [cicp(12, 13)], (217, 42, 52)),
        ((180, 90, 60), [P3], (193, 83, 51)),
        ((180, 90, 60), [P3, chunk(b"sRGB", b"\0"), gama(1)], (193, 83, 51)),
        ((180, 90, 60), [cicp(1, 13), P3], (180, 90, 60)),
        ((55, 55, 55), [cicp(2, 13), gama(1)], (128, 128, 128)),
        ((55, 55, 55), [chunk(b"iCCP", b"p\0\0junk"), gama(1)], (128, 128, 128)),
        ((148, 148, 148), [cicp(9, 16)], (187, 187, 187)),
        ((180, 90, 60), [cicp(12, 18)], (164, 64, 38)),
        ((180, 90, 60), [cicp(1, 1)], (176, 81, 49)),
        ((180, 90, 60), [cicp(11, 13)], (190, 84, 51)),
    ],
)  # fmt: skip
def test_png(
    colour: tuple[int, int, int], chunks: list[bytes], shown: tuple[int, int, int], tmp_path: Path
) -> None:
    """cICP before iCCP before sRGB before gAMA and cHRM."""
    assert apart(decoded(png(*chunks, image=flat(colour)), tmp_path), shown) <= 1


@pytest.mark.parametrize(
    ("nclx", "shown"),
    [
        ((12, 13), (193, 85, 49)),
        ((9, 1), (217, 70, 49)),
        ((1, 1), (180, 91, 59)),
        ((2, 2), (180, 91, 59)),
        ((1, 4), (181, 91, 56)),
        ((1, 16), (255, 53, 20)),
        ((12, 18), (164, 65, 36)),
    ],
)
def test_avif_and_heif(nclx: tuple[int, int], shown: tuple[int, int, int], tmp_path: Path) -> None:
    data = saved(flat((180, 90, 60)), "AVIF", quality=100, subsampling="4:4:4")
    patched = data.replace(b"nclx\0\1\0\x0d", b"nclx" + b"".join(code.to_bytes(2, "big") for code in nclx), 1)
    assert apart(decoded(patched, tmp_path), shown) <= 1
    heif = saved(
        flat((180, 90, 60)), "HEIF", quality=100, chroma=444, save_nclx_profile=True,
        color_primaries=nclx[0], transfer_characteristics=nclx[1], matrix_coefficients=6,
    )  # fmt: skip
    assert apart(decoded(heif, tmp_path), shown) <= 3


def test_an_icc_profile_comes_before_nclx(tmp_path: Path) -> None:
    got = decoded(avif(9, 16, icc_profile=display_p3()), tmp_path)
    expected = decoded(avif(12, 13), tmp_path)
    assert np.abs(np.subtract(np.asarray(got, int), np.asarray(expected, int))).mean() < 1


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("colour", "profile", "shown"),
    [
        (100, grey_profile(1.0), (168, 168, 168)),
        (100, grey_profile(1.8), (119, 119, 119)),
        (100, display_p3(1.0), (168, 168, 168)),
        ((100, 150, 200), grey_profile(1.0), (100, 150, 200)),
    ],
)
def test_greys_and_profiles(
    form: str,
    colour: tuple[int, int, int] | int,
    profile: bytes,
    shown: tuple[int, int, int],
    tmp_path: Path,
) -> None:
    assert apart(decoded(saved(flat(colour), form, icc_profile=profile), tmp_path), shown) <= 1


def test_the_whole_range_of_hdr_is_tone_mapped_in_bands() -> None:
    """A picture of several bands; from black over reference white, which is half as bright as the brightest, to 1000
    nits and above, which are white."""
    steps = np.repeat(np.arange(256, dtype=np.uint8), 4)
    image = Image.fromarray(np.broadcast_to(steps[None, :, None], (600, 1024, 3)).copy())
    space = colour_space.by_code(9, 16)
    assert space is not None
    levels = np.asarray(colour_space.to_srgb(image, space)).astype(int)
    assert (levels == levels[:1]).all()
    assert (np.diff(levels[0, :, 0]) >= 0).all()
    assert [levels[0, 4 * value, 0] for value in (0, 80, 148, 191, 255)] == [0, 48, 187, 254, 255]


def test_transparent_pixels_keep_their_alpha_in_another_space(tmp_path: Path) -> None:
    picture = flat((200, 60, 60)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((64, 64)))
    got = decoded(png(cicp(12, 13), image=picture), tmp_path)
    assert got.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    assert apart(got, (217, 42, 52), (5, 60)) <= 1


def test_a_profile_or_text_of_any_size_does_no_harm(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).bytes(1_200_000)
    for extra in (
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(noise.hex().encode())),
        chunk(b"iTXt", b"workflow\0\0\0\0\0" + b"x" * 2_000_000),
        chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(36) + b"acsp" + noise * 8)),
    ):
        assert decoded(png(extra, image=flat((9, 8, 7))), tmp_path).getpixel((5, 5)) == (9, 8, 7)


def test_the_base_of_a_gain_map_picture_is_what_counts(tmp_path: Path) -> None:
    """As Chromium shows it on a screen without headroom."""
    buffer = io.BytesIO()
    flat((120, 90, 60)).save(buffer, "MPO", save_all=True, append_images=[flat((255, 255, 255))], quality=95)
    assert apart(decoded(buffer.getvalue(), tmp_path), (120, 90, 60)) <= 2

"""Verification reads headers only, believes bytes over labels, and knows how clients see turned pictures."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from workers.imaging.sniff import sniff
from workers.imaging.types import Claim, Limits
from workers.imaging.verify import verify
from workers.pixel_errors import PixelError


def _turned(path: Path, form: str, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (120, 80), "teal").save(path, form, exif=exif)
    return path


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("claim", [Claim(120, 80), Claim(80, 120)])
def test_a_turned_picture_may_be_announced_either_way(tmp_path: Path, form: str, claim: Claim) -> None:
    info = verify(_turned(tmp_path / "turned", form, 6), claim, Limits())
    assert info.oriented == ((120, 80) if form == "WEBP" else (80, 120))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_upright_picture_may_not(tmp_path: Path, form: str) -> None:
    with pytest.raises(PixelError) as failure:
        verify(_turned(tmp_path / "upright", form, 3), Claim(80, 120), Limits())
    assert failure.value.code == "dimensions_mismatch"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_bytes=100), "too_large"),
        (Limits(max_side=119), "too_many_pixels"),
        (Limits(max_pixels=9599), "too_many_pixels"),
        (Limits(max_side=120, max_pixels=9600), None),
    ],
)
def test_limits_hold_to_the_pixel(tmp_path: Path, limits: Limits, code: str | None) -> None:
    path = _turned(tmp_path / "photo", "PNG", 1)
    if code is None:
        assert verify(path, Claim(120, 80), limits).width == 120
        return
    with pytest.raises(PixelError) as failure:
        verify(path, Claim(120, 80), limits)
    assert failure.value.code == code


def test_frames_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "animation.gif"
    frames = [Image.new("L", (20, 20), 40 * number) for number in range(6)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert verify(path, Claim(20, 20), Limits(max_frames=6)).frames == 6
    with pytest.raises(PixelError, match="more than 5 frames"):
        verify(path, Claim(20, 20), Limits(max_frames=5))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypavis\0\0\0\0avifavismsf1", "AVIF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"BM" + bytes(12) + b"\x7c\0\0\0", "BMP"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg ", "SVG"),
        (b"<!--" + b"x" * 9000, "SVG"),
        ("<?xml version='1.0'?><svg ".encode("utf-16"), "SVG"),
        (b"<!-- a --><!DOCTYPE svg [<!ENTITY a 'b'>]>\n<!-- <html> --><s:svg\n", "SVG"),
    ],
)
def test_magic_numbers(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"<html><svg ", "HTML"),
        (b"\x1f\x8b\x08\0", "svgz"),
        (b"%PDF-1.4", "PDF"),
        (b"\0\0\0\x18ftypqt  ", "MP4 family"),
        (b"hello, world", "text"),
        (b"\x01\x02\x03", "no known"),
        (b"<html>", "HTML"),
    ],
)
def test_refusals_name_what_came(head: bytes, words: str) -> None:
    with pytest.raises(PixelError) as failure:
        sniff(head)
    assert failure.value.code == "unsupported_type"
    assert words in failure.value.detail
    assert "WebP" in failure.value.detail


def test_errors_survive_the_way_home() -> None:
    error = pickle.loads(pickle.dumps(PixelError("op_failed", "no luck", True)))
    assert (error.code, error.detail, error.retryable, str(error)) == (
        "op_failed",
        "no luck",
        True,
        "op_failed: no luck",
    )

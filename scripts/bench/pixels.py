"""Pixels against plain Pillow and sharp: time, peak memory and PNG size, on generated photographs.

The plain way is what an honest first version does: open, transpose, convert the profile, thumbnail, save with the
format's defaults, and open the upload again for the small picture.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageCms, ImageOps

from scripts.bench import beside_sharp
from scripts.bench.cost import in_child
from scripts.bench.measure import Row, at_least, at_most, interleave, megapixels, ratio, sample_row, scaled
from scripts.bench.shrink import shrink
from workers.imaging.encode import encode
from workers.imaging.types import Encoding

TITLE: Final = "Pixels, against plain Pillow and sharp"
_TWELVE: Final = (4000, 3000)
_TWENTY_FOUR: Final = (6000, 4000)
_PNG: Final = (1600, 1200)
_SIDE: Final = 1024
_SIDES: Final = (1024, 2048)


def photograph(size: tuple[int, int], seed: int = 12) -> Image.Image:
    """A picture with the statistics of a photo: detail at every scale, less the finer, and sensor noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    luma = np.zeros((height, width), np.float32)
    octave, strength = 4, 34.0
    while octave < max(size):
        cells = rng.standard_normal((octave * height // width + 2, octave + 2)).astype(np.float32)
        layer = Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)
        luma += strength * np.asarray(layer)
        octave, strength = octave * 2, strength * 0.77
    photo = np.empty((height, width, 3), np.uint8)
    for channel, (gain, offset) in enumerate(((1.0, 128.0), (0.92, 120.0), (0.8, 104.0))):
        tint = rng.standard_normal((6, 8)).astype(np.float32)
        colour = np.asarray(Image.fromarray(tint).resize(size, Image.Resampling.BICUBIC))
        noise = rng.standard_normal((height, width)).astype(np.float32)
        photo[..., channel] = np.clip(gain * luma + 14 * colour + 5.0 * noise + offset, 0, 255)
    return Image.fromarray(photo)


def adobe_rgb() -> bytes:
    """A wide-gamut profile as cameras embed: sRGB's own, with green moved out. Built here."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    wide = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087)}
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        offset = int.from_bytes(profile[at + 4 : at + 8], "big") + 8
        for number, value in enumerate(wide.get(bytes(profile[at : at + 4]), ())):
            where = offset + 4 * number
            profile[where : where + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    return bytes(profile)


def write_photograph(path: Path, size: tuple[int, int]) -> Path:
    """A JPEG of quality 92, turned by EXIF, with a profile and a GPS position, as a camera writes it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    photograph(size).save(path, "JPEG", quality=92, exif=exif, icc_profile=adobe_rgb())
    return path


def ours(source: Path, directory: Path) -> None:
    """Verification included."""
    shrink(source, _SIDE, directory / "ours.webp", directory / "ours.thumb.webp")


def plain(source: Path, directory: Path) -> None:
    """The upload opened once for each result."""
    for name, side in (("plain.webp", _SIDE), ("plain.thumb.webp", 256)):
        _shrink(_plain_srgb(source), side, directory / name)


def plain_once(source: Path, directory: Path) -> None:
    """A more careful plain way: the thumbnail from what is in memory anyway."""
    picture = _plain_srgb(source)
    _shrink(picture, _SIDE, directory / "once.webp")
    _shrink(picture, 256, directory / "once.thumb.webp")


def _plain_srgb(source: Path) -> Image.Image:
    with Image.open(source) as opened:
        profile: bytes = opened.info["icc_profile"]
        picture = ImageOps.exif_transpose(opened)
    converted = ImageCms.profileToProfile(
        picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # noqa: S101 - not in place
    return converted


def _shrink(picture: Image.Image, side: int, path: Path) -> None:
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(path, "WEBP", quality=85)


def run(rounds: int = 9, scale: float = 1) -> list[Row]:
    """scale: sides of the pictures that are read, as a part of the full ones."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        return [
            *_speed(directory, rounds, scaled(_TWELVE, scale)),
            *_sharp(directory, rounds, megapixels(scaled(_TWELVE, scale))),
            *_memory(directory, scaled(_TWENTY_FOUR, scale)),
            *_png(directory, rounds, scaled(_PNG, scale)),
        ]


def _speed(directory: Path, rounds: int, size: tuple[int, int]) -> list[Row]:
    source = write_photograph(directory / "12.jpg", size)
    taken = interleave(
        {
            "plain": lambda: plain(source, directory),
            "ours": lambda: ours(source, directory),
            "once": lambda: plain_once(source, directory),
        },
        rounds,
    )
    label = f"{megapixels(size)} JPEG ({source.stat().st_size / 1e6:.1f} MB) to {_SIDE} WebP and thumbnail"
    sizes = [(directory / f"{who}.webp").stat().st_size / 1024 for who in ("ours", "plain")]
    return [
        sample_row(f"{label}, plain", taken["plain"]),
        sample_row(f"{label}, ours", taken["ours"], f"{sizes[0]:.0f} kB against {sizes[1]:.0f}"),
        at_least("… times as fast", ratio(taken["plain"], taken["ours"]), 4),
        Row("… as plain Pillow opening it once", f"{ratio(taken['once'], taken['ours']):.2f} ×"),
    ]


def _sharp(directory: Path, rounds: int, label: str) -> list[Row]:
    """Processor time beside sharp's, which verifies nothing."""
    wide, narrow = directory / "12.jpg", directory / "srgb.jpg"
    with Image.open(wide) as opened:
        opened.save(narrow, "JPEG", quality=92)
    results = [directory / "mine.webp", directory / "sharp.webp"]
    rows = []
    with beside_sharp.ours(results[0]) as mine, beside_sharp.sharp(results[1]) as theirs:
        for (kind, source), side in product((("sRGB", narrow), ("wide gamut", wide)), _SIDES):
            taken = beside_sharp.take_turns((mine, theirs), source, side, rounds)
            times = " : ".join(f"{sample.median * 1000:.0f}" for sample in taken)
            sizes = " : ".join(f"{path.stat().st_size / 1024:.0f}" for path in results)
            name = f"{label}, {kind}, to {side} and thumbnail, as fast as sharp"
            rows.append(at_least(name, ratio(taken[1], taken[0]), 1, note=f"{times} ms; {sizes} kB"))
    return rows


def _memory(directory: Path, size: tuple[int, int]) -> list[Row]:
    source = write_photograph(directory / "24.jpg", size)
    peaks = {way: in_child(_ready, way, source, directory).grown for way in ("plain", "ours")}
    note = f"{peaks['ours']:.0f} MB against {peaks['plain']:.0f}"
    return [at_most(f"{megapixels(size)}, peak memory", peaks["ours"] / peaks["plain"], 0.15, note=note)]


def _ready(way: str, source: Path, directory: Path) -> Callable[[], None]:
    """A way after a tiny picture of the same kind."""
    run = {"plain": plain, "ours": ours}[way]
    tiny = directory / f"tiny-{way}.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 64)).save(tiny, "JPEG", exif=exif, icc_profile=adobe_rgb())
    run(tiny, directory)
    return lambda: run(source, directory)


def _png(directory: Path, rounds: int, size: tuple[int, int]) -> list[Row]:
    picture = photograph(size, seed=3)
    taken = interleave(
        {
            "plain": lambda: picture.save(directory / "plain.png", "PNG"),
            "ours": lambda: encode(picture, Encoding("png"), directory / "ours.png"),
        },
        rounds,
    )
    sizes = [(directory / f"{who}.png").stat().st_size for who in ("ours", "plain")]
    label = f"PNG of {size[0]} × {size[1]}"
    return [
        sample_row(f"{label}, plain", taken["plain"]),
        sample_row(f"{label}, ours", taken["ours"]),
        at_least("… times as fast", ratio(taken["plain"], taken["ours"]), 6),
        at_most("… of the size", sizes[0] / sizes[1], 1.15, note=f"{sizes[0] / 1e6:.2f} MB"),
    ]

"""What is measured on every result: ThumbHash, dominant colours, sharpness, exposure, perceptual hash.

All of it is of the picture as it is seen, scaled to at most 1024 pixels a side: equal pictures of different size have
about equal features. What transparency hides does not count.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.ops.outputs import Colour, Features
from workers.imaging.encode import flatten
from workers.imaging.resize import fit_size, resize

Floats = NDArray[np.floating[Any]]

SIDE: Final = 1024
_COLOUR_SIDE: Final = 96
_COLOURS: Final = 5
_LEAST_SHARE: Final = 0.01
_THUMBHASH_SIDE: Final = 100
_VISIBLE: Final = 128
"""Alpha from which a pixel counts."""
_GREY: Final = (128, 128, 128)
_BLUR: Final = 11
"""Pixels that the blur of the sharpness score spans, as in its paper."""
_PHASH_SIDE: Final = 32
_PHASH_BITS: Final = 8
_FLAT: Final = 1e-4
"""A plane whose waves are all weaker than this is even: what is left of them is rounding."""
_LUMA: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)


def measure(image: Image.Image) -> Features:
    """The features of an RGB or RGBA picture."""
    small = image.resize(fit_size(image.size, SIDE), Image.Resampling.HAMMING, reducing_gap=1)
    colours = resize(small, fit_size(small.size, _COLOUR_SIDE))
    alpha = small.getchannel("A") if small.mode == "RGBA" else None
    luma = flatten(small, _GREY).convert("L")
    return Features(
        thumbhash=base64.b64encode(thumbhash(colours)).decode(),
        colours=dominant(colours),
        sharpness=sharpness(luma, alpha),
        exposure=exposure(colours),
        perceptual_hash=perceptual_hash(luma),
    )


def _visible(image: Image.Image) -> NDArray[np.uint8]:
    """The colours of the pixels that can be seen, (n, 3)."""
    pixels = np.asarray(image, np.uint8).reshape(-1, len(image.getbands()))
    return pixels[pixels[:, 3] >= _VISIBLE][:, :3] if image.mode == "RGBA" else pixels


def dominant(image: Image.Image) -> tuple[Colour, ...]:
    """The colours that most visible pixels are near, by median cut refined by k-means; the largest share first."""
    seen = _visible(image)
    if not len(seen):
        return ()
    palette = Image.fromarray(seen[None]).quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=4)
    colours = np.asarray(palette.getpalette(), np.uint8).reshape(-1, 3)
    found = [
        Colour("#" + colour.tobytes().hex(), round(count / len(seen), 3))
        for colour, count in zip(colours, palette.histogram(), strict=False)
        if count >= _LEAST_SHARE * len(seen)
    ]
    return tuple(sorted(found, key=lambda colour: -colour.share))


def exposure(image: Image.Image) -> float:
    """Mean L* / 100 of the visible pixels; 0 where there are none. L* is that of CIELAB under D65."""
    seen = _visible(image)
    if not len(seen):
        return 0.0
    encoded = seen.astype(np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    luminance = linear @ _LUMA
    lightness = np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
    return round(float(lightness.mean()) / 100, 3)


def sharpness(luma: Image.Image, alpha: Image.Image | None = None) -> float:
    """1 minus the blur metric of Crété-Roffet et al. 2007 ("The blur effect"): how much of the differences between
    neighbours a blur of eleven pixels takes away, in the worse direction. 0 where nothing differs. luma: mode L; alpha:
    its transparency, whose own edges do not count."""
    values = np.asarray(luma, np.float32)
    seen = None if alpha is None else np.asarray(alpha) >= _VISIBLE
    both = [_kept(values, seen), _kept(values.T, None if seen is None else seen.T)]
    return round(min(both), 3)


def _kept(values: Floats, seen: NDArray[np.bool_] | None) -> float:
    """The part of the differences down the columns that a blur along them takes away, 0..1."""
    differences = np.abs(np.diff(values, axis=0))
    # Means of neighbouring windows differ in the value that comes and the one that goes.
    padded = np.pad(values, ((_BLUR // 2, _BLUR // 2), (0, 0)), mode="edge")
    smoothed = np.abs(padded[_BLUR:] - padded[:-_BLUR]) / _BLUR
    lost = np.maximum(differences - smoothed, 0)
    if seen is not None:
        inside = seen[1:] & seen[:-1]
        differences, lost = differences[inside], lost[inside]
    total = float(differences.sum(dtype=np.float64))
    return float(lost.sum(dtype=np.float64)) / total if total > 0 else 0.0


def _cosines(waves: int, samples: int) -> Floats:
    """The first `waves` basis functions of the DCT-II over `samples` points, (waves, samples)."""
    points = (np.arange(samples) + 0.5) * np.pi / samples
    return np.cos(np.arange(waves)[:, None] * points).astype(np.float32)


def perceptual_hash(luma: Image.Image) -> str:
    """The pHash of a picture of mode L, as imagehash.phash has it: which of its 64 lowest frequencies lie above their
    median, row by row, 16 hex digits."""
    small = np.asarray(luma.resize((_PHASH_SIDE, _PHASH_SIDE), Image.Resampling.LANCZOS), np.float32)
    basis = _cosines(_PHASH_BITS, _PHASH_SIDE)
    low = np.round(basis @ small @ basis.T)  # what rounding errors leave of an even picture is nothing
    return np.packbits(low > np.median(low)).tobytes().hex()


def thumbhash(image: Image.Image) -> bytes:
    """The ThumbHash of an RGB or RGBA picture (https://evanw.github.io/thumbhash): its lowest frequencies in lightness,
    two colour differences and alpha, each a nibble, behind a header of five or six bytes."""
    small = resize(image, fit_size(image.size, _THUMBHASH_SIDE))
    width, height = small.size
    rgba = np.asarray(small.convert("RGBA"), np.float32) / 255
    alpha = rgba[..., 3]
    covered = float(alpha.sum())
    weighed = rgba[..., :3] * alpha[..., None]
    average: Floats = weighed.sum((0, 1), dtype=np.float32) / np.float32(covered or 1)
    laid: Floats = weighed + average * (1 - alpha[..., None])
    r, g, b = laid[..., 0], laid[..., 1], laid[..., 2]
    clear = covered < width * height
    limit, side = (5 if clear else 7), max(width, height)
    across, down = (max(1, _round(limit * length / side)) for length in (width, height))
    lightness = _Channel((r + g + b) / 3, max(3, across), max(3, down))
    yellow_blue, red_green = _Channel((r + g) / 2 - b, 3, 3), _Channel(r - g, 3, 3)
    wide = width > height
    head = (
        _round(63 * lightness.mean)
        | _round(31.5 + 31.5 * yellow_blue.mean) << 6
        | _round(31.5 + 31.5 * red_green.mean) << 12
        | _round(31 * lightness.scale) << 18
        | clear << 23
    )
    tail = (
        (down if wide else across)
        | _round(63 * yellow_blue.scale) << 3
        | _round(63 * red_green.scale) << 9
        | wide << 15
    )
    written = head.to_bytes(3, "little") + tail.to_bytes(2, "little")
    nibbles = lightness.nibbles + yellow_blue.nibbles + red_green.nibbles
    if clear:
        opacity = _Channel(alpha, 5, 5)
        written += bytes([_round(15 * opacity.mean) | _round(15 * opacity.scale) << 4])
        nibbles += opacity.nibbles
    nibbles += [0] * (len(nibbles) % 2)
    return written + bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))


class _Channel:
    """The lowest frequencies of a plane: `mean`, and the others as `nibbles` in units of the largest, `scale`."""

    def __init__(self, plane: Floats, across: int, down: int) -> None:
        height, width = plane.shape
        waves = _cosines(down, height) @ plane @ _cosines(across, width).T / (width * height)
        kept = [
            float(waves[y, x]) for y in range(down) for x in range(across) if x * down < across * (down - y)
        ]
        self.mean, others = kept[0], kept[1:]
        scale = max(map(abs, others))
        self.scale = scale if scale > _FLAT else 0.0
        self.nibbles = [_round(7.5 + 7.5 * wave / self.scale) if self.scale else 0 for wave in others]


def _round(value: float) -> int:
    """Halves up, as in JavaScript, which the format comes from."""
    return int(np.floor(value + 0.5))

"""enhance-v1: moderate correction of tones, colour cast, saturation and sharpness.

Everything that is measured (percentiles, cast) is measured on a small copy and becomes one lookup table for
each channel, so that a picture of any size is corrected in one pass over its bytes.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.ops.models import Enhance
from workers.imaging.resize import fit_size
from workers.ops.pixels import sharpen, with_alpha_of

Floats = NDArray[np.float32]

_SAMPLE_SIDE = 384
_CLIPPED = 0.4  # per cent of the pixels that may become black, and white
_BLACK_AT_MOST, _WHITE_AT_LEAST = 0.12, 0.78  # how far the ends of the tones may be moved: the moderate part
_GAIN = 1.25  # most that white balance changes a channel, in linear light
_NEUTRAL = 0.16  # spread of the channels of a pixel that may show the colour of the light
_MIN_NEUTRAL = 0.02  # part of the picture that must be near neutral for a cast to be judged
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def apply(image: Image.Image, params: Enhance) -> Image.Image:
    """The corrected picture; transparency is kept, and transparent pixels do not count for the measures."""
    sample = _sample(image)
    tables = [np.linspace(0, 1, 256, dtype=np.float32)] * 3
    if params.balance:
        tables = [_scale_light(table, gain) for table, gain in zip(tables, _gains(sample), strict=True)]
    if params.levels:
        low, high = _ends(sample)
        tables = [np.clip((table - low) / (high - low), 0, 1) for table in tables]
    tables = [_contrast(table, params.contrast / 100) for table in tables]
    table = [int(level) for part in tables for level in np.rint(part * 255)]
    colours = image.convert("RGB").point(table)
    if params.saturation:
        colours = colours.convert("RGB", _saturation_matrix(1 + params.saturation / 100))
    return sharpen(with_alpha_of(colours, image), params.sharpen, radius=1.0)


def _sample(image: Image.Image) -> Floats:
    """Opaque pixels of a small copy: (n, 3) in 0..1; empty when there are none."""
    small = image.reduce(max(1, max(image.size) // _SAMPLE_SIDE)) if max(image.size) > _SAMPLE_SIDE else image
    small = small.resize(fit_size(small.size, _SAMPLE_SIDE), Image.Resampling.BOX)
    colours = np.asarray(small.convert("RGB"), np.float32).reshape(-1, 3) / 255
    if small.mode == "RGBA":
        colours = colours[np.asarray(small.getchannel("A")).ravel() > 127]
    return np.asarray(colours, np.float32)


def _ends(sample: Floats) -> tuple[float, float]:
    """The tones that become black and white."""
    if not len(sample):
        return 0.0, 1.0
    low, high = np.percentile(sample @ _LUMA, [_CLIPPED, 100 - _CLIPPED])
    return min(float(low), _BLACK_AT_MOST), max(float(high), _WHITE_AT_LEAST)


def _gains(sample: Floats) -> Floats:
    """Gain of each channel, in linear light, that makes the near-neutral pixels neutral; (3,)."""
    brightest, darkest = sample.max(axis=1, initial=0), sample.min(axis=1, initial=1)
    neutral = sample[(brightest - darkest < _NEUTRAL) & (brightest < 0.98) & (brightest > 0.2)]
    if len(neutral) < max(1, _MIN_NEUTRAL * len(sample)):
        return np.ones(3, np.float32)
    light = _to_linear(neutral).mean(axis=0)
    gains = np.clip(light.mean() / light, 1 / _GAIN, _GAIN)
    return np.asarray(gains / (gains @ _LUMA), np.float32)  # keeps the lightness


def _to_linear(levels: Floats) -> Floats:
    return np.asarray(
        np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4), np.float32
    )


def _scale_light(table: Floats, gain: float) -> Floats:
    light = np.clip(_to_linear(table) * gain, 0, 1)
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.clip(levels, 0, 1), np.float32)


def _contrast(table: Floats, amount: float) -> Floats:
    """-1 is grey, 0 leaves the table, 1 is a full S-curve; black and white stay for amounts above 0."""
    if amount < 0:
        return np.asarray(0.5 + (table - 0.5) * (1 + amount), np.float32)
    curve = table * table * (3 - 2 * table)
    return np.asarray(table + amount * (curve - table), np.float32)


def _saturation_matrix(factor: float) -> tuple[float, ...]:
    rows = []
    for channel in range(3):
        row = [(1 - factor) * float(weight) for weight in _LUMA]
        row[channel] += factor
        rows += [*row, 0.0]
    return tuple(rows)

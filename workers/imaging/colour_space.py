"""RGB colour spaces that a file names by numbers instead of an ICC profile, and their way to 8-bit sRGB.

The numbers are those of ITU-T H.273 ("CICP"), as HEIF and AVIF (nclx) and PNG (cICP) store them; PNG's gAMA and cHRM
say the same by values. What comes out was compared with Chromium: within 2 of 255 (tests/chromium).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from PIL import Image

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Doubles = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Transfer = Literal["srgb", "linear", "pq", "hlg", "bt709", "smpte240m", "smpte428"] | float
"""How encoded values become light. A number is an exponent."""
Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of red, green, blue and white."""


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """What RGB values mean."""

    primaries: Chromaticities
    transfer: Transfer


_D65: Final = (0.3127, 0.3290)
_C: Final = (0.310, 0.316)
SRGB_PRIMARIES: Final[Chromaticities] = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
_BT2020: Final[Chromaticities] = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)
_PRIMARIES: Final[dict[int, Chromaticities]] = {
    1: SRGB_PRIMARIES,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: _BT2020,
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
_TRANSFERS: Final[dict[int, Transfer]] = {
    1: "bt709",
    4: 2.2,
    5: 2.8,
    6: "bt709",
    7: "smpte240m",
    8: "linear",
    13: "srgb",
    14: "bt709",
    15: "bt709",
    16: "pq",
    17: "smpte428",
    18: "hlg",
}


def by_code(primaries: int, transfer: int) -> ColourSpace | None:
    """The space of two H.273 code points; None where one of them is unknown or unspecified."""
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        return None
    return ColourSpace(_PRIMARIES[primaries], _TRANSFERS[transfer])


def is_srgb(space: ColourSpace) -> bool:
    return space == ColourSpace(SRGB_PRIMARIES, "srgb")


_REFERENCE_WHITE: Final = 203.0  # nits: what counts as white in an HDR picture (ITU-R BT.2408)
_HEADROOM: Final = 1000 / _REFERENCE_WHITE  # how far above white a picture is taken to reach
_BT2020_LUMA: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BAND_PIXELS: Final = 1 << 18  # converted at a time: some 10 MB of floats
_ENCODED: Final = 1 << 14


def to_srgb(image: Image.Image, space: ColourSpace) -> Image.Image:
    """An RGB picture of that space as sRGB; colours outside sRGB are cut off channel by channel. PQ and HLG are tone
    mapped as Chromium does for a screen that shows nothing brighter than white."""
    if is_srgb(space):
        return image
    light, matrix = _light(space.transfer), _matrix(space.primaries, SRGB_PRIMARIES)
    hdr = space.transfer in {"pq", "hlg"}
    to_2020, from_2020 = _matrix(space.primaries, _BT2020), _matrix(_BT2020, SRGB_PRIMARIES)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        linear = light[np.asarray(image.crop(box))]
        linear = linear @ (to_2020 if hdr else matrix)
        if hdr:
            linear = _tone_mapped(linear, space.transfer == "hlg") @ from_2020
        np.clip(linear, 0, 1, out=linear)
        linear *= _ENCODED
        image.paste(Image.fromarray(_encoded()[linear.astype(np.uint16)]), box[:2])
    return image


def _tone_mapped(linear: Floats, hlg: bool) -> Floats:
    """BT.2020 light, 1.0 being reference white, as light of at most 1.0: the default curve of SMPTE ST 2094-50 by the
    largest channel. Up to white it halves; above, a parabola leads to 1.0 at the headroom."""
    if hlg:  # the light of the scene: what a display of 1000 nits makes of it (BT.2100, gamma 1.2)
        luma = np.maximum(linear @ _BT2020_LUMA, 0)
        linear = linear * (luma**0.2 * np.float32(_HEADROOM))[..., None]
    largest = linear.max(axis=-1)
    return linear * _gain(largest)[..., None]


def _gain(largest: Floats) -> Floats:
    """The factor by the largest channel of a pixel. The parabola is the quadratic Bézier curve from (1, 0.5) to
    (headroom, 1) whose middle point lies 0.65 of the way along both of its tangents."""
    middle_x, middle_y = 0.35 + 0.65 * 2, 0.35 * 0.5 + 0.65
    ax, bx = 1 - 2 * middle_x + _HEADROOM, 2 * middle_x - 2
    ay, by = 0.5 - 2 * middle_y + 1, 2 * middle_y - 1
    x = np.clip(largest, 1, _HEADROOM)
    t = (np.sqrt(bx * bx - 4 * ax * (1 - x)) - bx) / (2 * ax)
    gain: Floats = ((0.5 + t * (by + t * ay)) / np.maximum(largest, 1)).astype(np.float32)
    return gain


@lru_cache(maxsize=8)
def _light(transfer: Transfer) -> Floats:
    """Light by 8-bit value, 256 floats: 1.0 is white, for PQ reference white, for HLG the scene's brightest."""
    value = np.arange(256) / 255
    return _linear(value, transfer).astype(np.float32)


def _linear(value: Doubles, transfer: Transfer) -> Doubles:
    if isinstance(transfer, float):
        return value**transfer
    return _CURVES[transfer](value)


def _srgb(value: Doubles) -> Doubles:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _smpte240m(value: Doubles) -> Doubles:
    return np.where(value < 0.0913, value / 4, ((value + 0.1115) / 1.1115) ** (1 / 0.45))


def _pq(value: Doubles) -> Doubles:
    """BT.2100, from nits to multiples of reference white."""
    power = value ** (4096 / 2523 / 128)
    base = np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)
    nits: Doubles = 10_000 * base ** (16384 / 2610)
    return nits / _REFERENCE_WHITE


def _hlg(value: Doubles) -> Doubles:
    """BT.2100."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)


_CURVES: Final[dict[str, Callable[[Doubles], Doubles]]] = {
    "srgb": _srgb,
    "linear": lambda value: value,
    "bt709": lambda value: (
        value**2.4
    ),  # as a display shows it (BT.1886), not the inverse of what a camera does
    "smpte240m": _smpte240m,
    "smpte428": lambda value: value**2.6 * (52.37 / 48),
    "pq": _pq,
    "hlg": _hlg,
}


@lru_cache(maxsize=1)
def _encoded() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """sRGB values, 0..255, by light times _ENCODED."""
    light = np.arange(_ENCODED + 1) / _ENCODED
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(value * 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _matrix(source: Chromaticities, target: Chromaticities) -> Floats:
    """From linear RGB of one space to that of another, to multiply rows of pixels by; white becomes white."""
    return (np.linalg.inv(_to_xyz(target)) @ _adapted(source, target) @ _to_xyz(source)).T.astype(np.float32)


def _to_xyz(of: Chromaticities) -> Doubles:
    columns = np.stack([_xyz(of[at], of[at + 1]) for at in (0, 2, 4)], axis=1)
    scaled: Doubles = columns * np.linalg.solve(columns, _xyz(of[6], of[7]))
    return scaled


def _xyz(x: float, y: float) -> Doubles:
    return np.array([x / y, 1, (1 - x - y) / y])


def _adapted(source: Chromaticities, target: Chromaticities) -> Doubles:
    """Bradford's adaptation from one white to the other."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (bradford @ _xyz(target[6], target[7])) / (bradford @ _xyz(source[6], source[7]))
    adapted: Doubles = np.linalg.solve(bradford, gains[:, None] * bradford)
    return adapted

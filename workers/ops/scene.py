"""Empty studio scenes: a wall, a floor in perspective with its material, and light.

Drawn from nothing but numbers, equal at every call, at no more than 1600 pixels a side, and enlarged: what is behind a
product is out of focus.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from service.ops.scenery import FLOORS, Scene
from workers.imaging.resize import fit_size
from workers.ops.pixels import grained

Floats = NDArray[np.float32]

_WORKING: Final = 1600
_MATERIAL: Final = 1200  # pixels a side of a material seen from above
_VANISHING: Final = 0.55  # how far above the horizon lines of the floor meet, in heights of the floor
_LENS: Final = 0.9  # focal length, in heights of the picture
_SHOWN: Final = 1.1  # heights of the picture that one repeat of a material is wide at the front edge
_FINER: Final = 3
_SWEEP: Final = 0.11  # half the height over which paper turns from wall into floor, part of the picture
_PLANKS: Final = 9
_TILES: Final = 7


def background(size: tuple[int, int], params: Scene) -> Image.Image:
    """The empty scene, RGB, of (width, height) pixels."""
    if params.scene == "plain":
        return Image.new("RGB", size, params.wall_rgb)
    width, height = small = fit_size(size, _WORKING)
    y, x = _places(height)[:, None], _places(width)[None, :]
    wall, floor = (np.array(colour, np.float32) for colour in (params.wall_rgb, params.floor_rgb))
    line = 1 - params.horizon / 100
    if params.scene == "gradient":
        pixels = np.broadcast_to(wall, (height, width, 3)).copy()
    elif FLOORS[params.scene] is None:
        share = _smooth((y - line + _SWEEP) / (2 * _SWEEP))[..., None]
        pixels = np.repeat(wall + share * (floor - wall), width, axis=1)
    else:
        pixels = _room(small, params, wall, floor, line)
    pixels *= _light(x, y, width / height, params)[..., None]
    drawn = Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))
    return grained(drawn.resize(size, Image.Resampling.BICUBIC))


def _room(size: tuple[int, int], params: Scene, wall: Floats, floor: Floats, line: float) -> Floats:
    """Wall and floor that meet in a line; the floor is sharp in front and out of focus at the wall."""
    width, height = size
    horizon = round(line * height)
    shades = _seen_on_floor(MATERIALS[params.scene](), size, horizon)
    ground = shades[..., None] ** WARMTH.get(params.scene, NEUTRAL) * floor
    depth = np.clip((np.arange(height, dtype=np.float32) - horizon) / max(1, height - horizon), 0, 1)
    soft = [
        ndimage.gaussian_filter(ground, (s * height, s * height, 0), mode="nearest") for s in (0.002, 0.006)
    ]
    far, near = np.clip(1 - depth[horizon:] * 2.2, 0, 1), np.clip(1 - depth[horizon:] * 1.1, 0, 1)
    sharp = ground * (1 - near)[:, None, None] + soft[0] * near[:, None, None]
    pixels = np.broadcast_to(wall, (height, width, 3)).astype(np.float32)
    pixels[horizon:] = sharp * (1 - far)[:, None, None] + soft[1] * far[:, None, None]
    # Where two surfaces meet less light comes.
    rows = np.arange(height, dtype=np.float32)
    corner = np.exp(-np.abs(rows - horizon) / np.where(rows < horizon, 0.03 * height, 0.05 * height))
    pixels *= (1 - 0.16 * corner)[:, None, None]
    band = slice(max(0, horizon - 12), min(height, horizon + 12))
    pixels[band] = ndimage.gaussian_filter(pixels, (0.0018 * height, 0, 0))[band]
    return pixels


def _seen_on_floor(material: Floats, size: tuple[int, int], horizon: int) -> Floats:
    """A material (side, side) that repeats, laid on the floor below a row and seen in perspective: the rows from there
    on, (height - horizon, width)."""
    width, height = size
    side = material.shape[0]
    floor = max(1, height - horizon)
    # Several rows for each: what is far away is much in little.
    rows = (np.arange(floor * _FINER, dtype=np.float32) + 0.5) / _FINER + _VANISHING * floor
    camera = side * (1 + _VANISHING) * floor / (_SHOWN * height)
    down = -_LENS * height * camera / rows
    across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None, :] * (camera / rows)[
        :, None
    ] + side / 2
    places = np.stack([np.broadcast_to(down[:, None], across.shape), across])
    seen = ndimage.map_coordinates(material, places, order=1, mode="grid-wrap")
    return np.asarray(seen.reshape(floor, _FINER, width).mean(axis=1), np.float32)


def _light(x: Floats, y: Floats, aspect: float, params: Scene) -> Floats:
    """Light on every place of the scene, around 1. It comes from the side that the shadow turns away from."""
    side = 0.5 - 0.28 * math.sin(math.radians(params.angle))
    falls = ((x - side) * min(aspect, 1.6)) ** 2 + (0.9 * (y - 0.35)) ** 2
    if params.scene == "gradient":
        return np.asarray(1.03 - 0.42 * _smooth(np.asarray(np.sqrt(falls) / 1.05, np.float32)), np.float32)
    light = np.asarray(1.02 - 0.24 * falls, np.float32)
    if params.light == "spot":
        pool = np.exp(-(((x - 0.5) * aspect) ** 2 + (y - 0.45) ** 2) / 0.16)
        return np.asarray(light * (0.72 + 0.34 * pool), np.float32)
    if params.light == "window":
        return np.asarray(light * (0.80 + 0.25 * _window(x, y, aspect, params.angle)), np.float32)
    return light


def _window(x: Floats, y: Floats, aspect: float, angle: int) -> Floats:
    """The light of a window with six panes, thrown aslant on the wall, 0..1."""
    turned = 1 if math.sin(math.radians(angle)) >= 0 else -1
    across = turned * (x - 0.5) * aspect + 0.42 * y + 0.12
    down = y + 0.10 * turned * (x - 0.5) * aspect
    panes_x = (across - 0.02) / 0.27
    panes_y = (down - 0.02) / 0.26
    lit = (
        (np.abs(panes_x - np.floor(panes_x) - 0.5) < 0.455)
        & (np.abs(panes_y - np.floor(panes_y) - 0.5) < 0.455)
        & (panes_x > 0)
        & (panes_x < 2)
        & (panes_y > 0)
        & (panes_y < 3)
    ).astype(np.float32)
    height = y.shape[0]
    return np.asarray(ndimage.gaussian_filter(lit, 0.007 * height), np.float32)


def wood() -> Floats:
    """Planks that lead away from the viewer."""
    rng = np.random.default_rng(5)
    side = _MATERIAL
    place = np.arange(side, dtype=np.float32) / side * _PLANKS
    plank = np.floor(place).astype(int)
    layers = ((0.8, 60, 0.5), (2.5, 160, 0.9), (9, 300, 0.8))
    grain = sum(
        (weight * _noise(rng, along, across) for across, along, weight in layers), np.zeros((side, side))
    )
    # Each plank is cut from another place of the trunk and has its own shade and its own joint.
    tone = np.ones((side, side), np.float32)
    for index in range(_PLANKS):
        columns = np.flatnonzero(plank == index)
        joint = int(rng.integers(8, side - 8))
        beyond = (np.arange(side) > joint)[:, None] * rng.normal(0, 0.05)
        own = np.roll(grain[:, columns], rng.integers(0, side), axis=0)
        tone[:, columns] = 1 + rng.normal(0, 0.055) + beyond + 0.05 * own
        tone[joint - 3 : joint + 3, columns] *= 0.72
    seam = np.minimum(place - plank, 1 - (place - plank)) / _PLANKS * side
    return np.asarray(np.clip(tone * (1 - 0.42 * np.exp(-((seam / 1.8) ** 2)))[None, :], 0.2, 2), np.float32)


def stone() -> Floats:
    """Polished stone without joints: clouds and faint veins."""
    rng = np.random.default_rng(11)
    clouds = 0.25 * _noise(rng, 3, 3) + 0.5 * _noise(rng, 14, 14) + _noise(rng, 60, 60)
    veins = np.exp(-np.abs(_noise(rng, 45, 45) + 0.12 * clouds) * 26)
    return np.asarray(1 + 0.018 * clouds - 0.10 * veins, np.float32)


def tiles() -> Floats:
    """Square tiles with joints, each with a shade of its own."""
    rng = np.random.default_rng(23)
    place = np.arange(_MATERIAL, dtype=np.float32) / _MATERIAL * _TILES
    index = np.floor(place).astype(int)
    shade = rng.normal(0, 0.02, (_TILES, _TILES))[index][:, index]
    edge = np.minimum(place - index, 1 - (place - index)) / _TILES * _MATERIAL
    joint = np.exp(-((edge / 3.2) ** 4))
    tone = (1 + shade) * (1 - 0.2 * np.maximum(joint[:, None], joint[None, :]))
    return np.asarray(tone + 0.012 * _noise(rng, 2, 2), np.float32)


def _noise(rng: np.random.Generator, down: float, across: float) -> Floats:
    """Noise that repeats, blurred by these deviations, with a standard deviation of 1: (side, side)."""
    spectrum = fft.rfft2(rng.standard_normal((_MATERIAL, _MATERIAL), dtype=np.float32))
    y, x = fft.fftfreq(_MATERIAL)[:, None], fft.rfftfreq(_MATERIAL)[None, :]
    spectrum *= np.exp(-2 * np.pi**2 * ((y * down) ** 2 + (x * across) ** 2))
    noise = fft.irfft2(spectrum)
    return np.asarray(noise / noise.std(), np.float32)


MATERIALS: Final = {"wood": wood, "stone": stone, "tiles": tiles}
"""Floors as seen from above: (side, side) of shades around 1, which repeat."""

NEUTRAL: Final = np.ones(3, np.float32)
WARMTH: Final = {"wood": np.array([1.0, 1.06, 1.16], np.float32)}
"""How much more a shade takes of red, green and blue: the darker wood is, the redder."""


def _places(count: int) -> Floats:
    """The middles of so many pixels, 0..1."""
    return np.asarray((np.arange(count) + 0.5) / count, np.float32)


def _smooth(part: Floats) -> Floats:
    inside = np.clip(part, 0, 1)
    return np.asarray(inside * inside * (3 - 2 * inside), np.float32)

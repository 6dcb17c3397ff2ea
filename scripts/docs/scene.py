"""Rendered product scenes whose true matte is known: for the pictures of the guide and for tests of bgremove-v1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]
Rgb = tuple[int, int, int]

_OVERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """photo: RGB; truth: the exact alpha of the product, L, same size."""

    photo: Image.Image
    truth: Image.Image


@dataclass(frozen=True)
class Look:
    """How a scene is lit and shot. sweep: levels by which the light changes over the wall; noise: standard
    deviation in levels; shadow: opacity of the soft shadow on the wall, 0..1."""

    product: Rgb = (46, 96, 128)
    wall: Rgb = (226, 228, 230)
    sweep: float = 18
    noise: float = 1.5
    shadow: float = 0.12
    seed: int = 7


def mug(size: tuple[int, int] = (900, 700), look: Look | None = None) -> Scene:
    """A glazed mug with a handle (a hole), a stripe and a highlight, before a wall."""
    look = look or Look()
    width, height = size
    truth = _silhouette(size)
    matte = np.asarray(truth, np.float32)[..., None] / 255
    scene = _wall(size, look)
    cast = Image.new("L", size)
    cast.paste(truth, (round(0.015 * width), round(0.02 * height)))
    dark = np.asarray(cast.filter(ImageFilter.GaussianBlur(0.02 * width)), np.float32)[..., None] / 255
    scene = np.asarray(scene * (1 - look.shadow * dark), np.float32)
    scene = np.asarray(scene * (1 - matte) + _glaze(size, look) * matte, np.float32)
    rng = np.random.default_rng(look.seed)
    scene += rng.normal(0, look.noise, scene.shape).astype(np.float32) if look.noise else 0
    return Scene(Image.fromarray(np.rint(np.clip(scene, 0, 255)).astype(np.uint8)), truth)


def _silhouette(size: tuple[int, int]) -> Image.Image:
    width, height = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
    matte = Image.new("L", (width, height))
    draw = ImageDraw.Draw(matte)
    handle = (0.54 * width, 0.33 * height, 0.78 * width, 0.70 * height)
    draw.ellipse(handle, fill=255)
    inner = 0.045 * width
    draw.ellipse((handle[0] + inner, handle[1] + inner, handle[2] - inner, handle[3] - inner), fill=0)
    draw.rectangle((0.26 * width, 0.25 * height, 0.62 * width, 0.78 * height), fill=255)
    draw.ellipse((0.26 * width, 0.72 * height, 0.62 * width, 0.84 * height), fill=255)
    draw.ellipse((0.26 * width, 0.19 * height, 0.62 * width, 0.31 * height), fill=255)
    return matte.resize(size, Image.Resampling.BOX)


def _glaze(size: tuple[int, int], look: Look) -> Floats:
    """Colour of the product everywhere: round shading, an inner rim, a pale stripe, a soft highlight."""
    width, height = size
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    shade = 1.12 - 2.2 * (x - 0.40) ** 2 * 4 - 0.12 * y
    glaze = np.asarray(look.product, np.float32) * shade[..., None]
    stripe = (np.abs(y - 0.55) < 0.03) & (x < 0.62)
    glaze = np.where(stripe[..., None], glaze * 0.4 + 0.6 * np.array([240, 205, 120], np.float32), glaze)
    mouth = ((x - 0.44) / 0.165) ** 2 + ((y - 0.25) / 0.05) ** 2 < 1
    glaze = np.where(mouth[..., None], glaze * 0.55, glaze)
    shine = np.exp(-(((x - 0.34) / 0.02) ** 2) - ((y - 0.5) / 0.14) ** 2)
    return np.asarray(glaze + shine[..., None] * (255 - glaze) * 0.9, np.float32)


def _wall(size: tuple[int, int], look: Look) -> Floats:
    width, height = size
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5)[None, :, None]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)[:, None, None]
    light = look.sweep * (0.5 - 0.8 * y - 0.5 * x - 1.2 * (x * x + y * y))
    return np.asarray(np.asarray(look.wall, np.float32) + light, np.float32)

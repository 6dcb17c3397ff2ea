"""Product photos that are drawn, for the sample library: turned vessels and mugs before plain walls."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from scripts.docs.scene import Look, Rgb, mug

Floats = NDArray[np.float32]

# Radius at heights from the rim (first) to the foot (last), as shares of the object's height.
VASE = (0.17, 0.12, 0.11, 0.15, 0.24, 0.30, 0.31, 0.27, 0.20, 0.16)
BOWL = (0.95, 0.94, 0.91, 0.85, 0.76, 0.64, 0.50, 0.38, 0.36, 0.38)
BOTTLE = (0.075, 0.08, 0.075, 0.075, 0.09, 0.16, 0.19, 0.195, 0.195, 0.185)
JAR = (0.27, 0.25, 0.30, 0.36, 0.39, 0.40, 0.39, 0.37, 0.33, 0.27)
CANDLESTICK = (0.13, 0.10, 0.055, 0.05, 0.09, 0.05, 0.05, 0.06, 0.13, 0.27)


@dataclass(frozen=True)
class Product:
    """What is on one picture. `profile` None is a mug; `height`: of the object, as a share of the picture's."""

    filename: str
    profile: tuple[float, ...] | None
    color: Rgb
    wall: Rgb
    size: tuple[int, int] = (1200, 1200)
    height: float = 0.62
    stripe: tuple[float, float, Rgb] | None = None


PRODUCTS = (
    Product("harbour-mug.jpg", None, (46, 96, 128), (226, 228, 230), (1400, 1090)),
    Product("brick-mug.jpg", None, (168, 62, 44), (236, 231, 222), (1400, 1090)),
    Product("moss-mug.jpg", None, (88, 112, 60), (230, 226, 232), (1400, 1090)),
    Product("tall-vase-terracotta.jpg", VASE, (196, 104, 66), (233, 236, 238), (1080, 1350), 0.7),
    Product(
        "tall-vase-ink.jpg",
        VASE,
        (40, 48, 92),
        (238, 230, 218),
        (1080, 1350),
        0.7,
        (0.58, 0.66, (226, 190, 96)),
    ),
    Product("wide-bowl-ochre.jpg", BOWL, (208, 150, 44), (228, 232, 238), (1400, 1090), 0.36),
    Product(
        "wide-bowl-sea.jpg",
        BOWL,
        (58, 134, 138),
        (240, 234, 226),
        (1400, 1090),
        0.36,
        (0.2, 0.3, (236, 232, 214)),
    ),
    Product("oil-bottle-green.jpg", BOTTLE, (52, 92, 64), (240, 238, 230), (1080, 1350), 0.74),
    Product("oil-bottle-plum.jpg", BOTTLE, (108, 46, 86), (232, 236, 232), (1080, 1350), 0.74),
    Product(
        "storage-jar.jpg",
        JAR,
        (122, 96, 78),
        (234, 236, 240),
        (1200, 1200),
        0.6,
        (0.42, 0.6, (232, 222, 204)),
    ),
    Product("candlestick-coral.jpg", CANDLESTICK, (216, 92, 80), (226, 234, 236), (1080, 1350), 0.66),
    Product("candlestick-slate.jpg", CANDLESTICK, (70, 78, 88), (240, 234, 224), (1080, 1350), 0.66),
)


def photograph(product: Product) -> bytes:
    """A product drawn, as JPEG; equal bytes at every call."""
    if product.profile is None:
        picture = mug(product.size, Look(product=product.color, wall=product.wall)).photo
    else:
        picture = _turned(product, product.profile)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    return data.getvalue()


def _turned(product: Product, profile: tuple[float, ...]) -> Image.Image:
    """A vessel from a potter's wheel: a profile turned about its axis, lit from the left."""
    width, height = product.size
    tall = product.height * height
    top, x = 0.5 * (height - tall), np.arange(width, dtype=np.float32)[None, :] + 0.5
    t = ((np.arange(height, dtype=np.float32) + 0.5 - top) / tall)[:, None]
    radius = _radius(profile, t) * tall
    across = (x - width / 2) / radius
    foot = 0.22 * profile[-1] * tall
    sag = foot * np.sqrt(np.clip(1 - across**2, 0, 1)) / tall  # the foot is round, seen from above
    inside = np.clip((1 - np.abs(across)) * radius + 0.5, 0, 1) * np.clip((1 + sag - t) * tall, 0, 1)
    inside *= np.clip(t * tall + 0.5, 0, 1)
    rim = _ellipse(product.size, (width / 2, top), (profile[0] * tall, 0.22 * profile[0] * tall))
    matte = np.maximum(inside, rim)[..., None]
    scene = _wall(product, top + tall + foot, profile[-1] * tall)
    scene = scene * (1 - matte) + _glaze(product, across, t) * matte
    mouth = _ellipse(product.size, (width / 2, top), (0.86 * profile[0] * tall, 0.17 * profile[0] * tall))[
        ..., None
    ]
    scene = scene * (1 - mouth) + np.asarray(product.color, np.float32) * 0.42 * mouth
    scene += np.random.default_rng(len(product.filename)).normal(0, 1.2, scene.shape).astype(np.float32)
    return Image.fromarray(np.rint(np.clip(scene, 0, 255)).astype(np.uint8))


def _radius(profile: tuple[float, ...], t: Floats) -> Floats:
    """The profile at heights `t`, smoothed so that it shows no corners."""
    fine = np.interp(np.linspace(0, 1, 400), np.linspace(0, 1, len(profile)), profile)
    kernel = np.hanning(61)
    smooth = np.convolve(np.pad(fine, 30, mode="edge"), kernel / kernel.sum(), mode="valid")
    return np.interp(np.clip(t, 0, 1), np.linspace(0, 1, 400), smooth).astype(np.float32)


def _glaze(product: Product, across: Floats, t: Floats) -> Floats:
    """Colour at every place: round shading, a stripe where there is one, a soft highlight."""
    u = np.clip(across, -1, 1)
    facing = np.clip(-0.45 * u + 0.89 * np.sqrt(1 - u**2), 0, 1)
    color = np.broadcast_to(
        np.asarray(product.color, np.float32), (*np.broadcast_shapes(u.shape, t.shape), 3)
    )
    if product.stripe is not None:
        start, end, paint = product.stripe
        painted = ((t > start) & (t < end))[..., None]
        color = np.where(painted, np.asarray(paint, np.float32), color)
    shaded = color * (0.42 + 0.72 * facing)[..., None]
    shine = np.exp(-(((u + 0.46) / 0.11) ** 2)) * np.clip(1 - np.abs(2 * t - 0.9), 0, 1)
    return np.asarray(shaded + (0.55 * shine)[..., None] * (255 - shaded), np.float32)


def _wall(product: Product, ground: float, radius: float) -> Floats:
    """A plain wall with a sweep of light, and a soft shadow under the object."""
    width, height = product.size
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5)[None, :, None]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)[:, None, None]
    wall = np.asarray(product.wall, np.float32) + 12 * (0.5 - 0.8 * y - 0.5 * x - 1.2 * (x * x + y * y))
    shadow = Image.new("L", product.size)
    center, reach = width / 2 + 0.25 * radius, 1.25 * radius
    box = (center - reach, ground - 0.32 * radius, center + reach, ground + 0.06 * radius)
    ImageDraw.Draw(shadow).ellipse(box, fill=255)
    soft = np.asarray(shadow.filter(ImageFilter.GaussianBlur(0.02 * width)), np.float32)[..., None] / 255
    return np.asarray(wall * (1 - 0.16 * soft), np.float32)


def _ellipse(size: tuple[int, int], center: tuple[float, float], half: tuple[float, float]) -> Floats:
    """An ellipse as a matte with a soft edge."""
    x = (np.arange(size[0], dtype=np.float32) + 0.5 - center[0])[None, :] / half[0]
    y = (np.arange(size[1], dtype=np.float32) + 0.5 - center[1])[:, None] / half[1]
    return np.asarray(np.clip((1 - np.sqrt(x * x + y * y)) * min(half) + 0.5, 0, 1), np.float32)

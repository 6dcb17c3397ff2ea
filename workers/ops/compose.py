"""compose-v1: a cut-out on a studio background."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.ops.cutout import Compose
from service.ops.values import ratio
from workers.imaging.resize import resize
from workers.ops import shadow
from workers.ops.bgremove import trim
from workers.ops.bgremove2 import with_cut_out
from workers.ops.pixels import Reported
from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]

_MAX_SIDE = 6000  # pixels of the scene; a larger subject is made smaller
_STRIP = 256
_SWEEP = 0.07  # half the height over which wall turns into floor, part of the picture
_LIGHT = 0.10  # how much darker the corners of the studio are than its middle
_SOFT = (2.5, 2.0)  # blur and fall of the soft shadow, per cent of the longer side of the subject
_CONTACT_BLUR = 1.6
_OPACITY = {"contact": 45, "soft": 30}
# Thresholds of an 8 × 8 ordered dither: a slow gradient in bytes would show as bands.
_BAYER = np.array([[0, 2], [3, 1]])
for _ in range(2):
    _BAYER = np.block([[4 * _BAYER, 4 * _BAYER + 2], [4 * _BAYER + 3, 4 * _BAYER + 1]])
_DITHER = ((_BAYER + 0.5) / 64).astype(np.float32)


def apply(image: Image.Image, params: Compose) -> Reported:
    """The scene, RGB. Raises PixelError op_failed when there is no subject, and what bgremove-v2 raises."""
    found = with_cut_out(image)
    made = found if isinstance(found, Reported) else Reported(found, "alpha")
    subject = trim(made.image)
    if subject.getchannel("A").getextrema()[1] == 0:
        raise PixelError("op_failed", "the picture is wholly transparent, so there is nothing to compose")
    size = _canvas(
        subject.size, ratio(params.aspect) if params.aspect else image.width / image.height, params
    )
    scale = min(1.0, _MAX_SIDE / max(size))
    if scale < 1:
        size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        subject = resize(
            subject, (max(1, round(subject.width * scale)), max(1, round(subject.height * scale)))
        )
    left, top = _place(size, subject.size, params)
    scene = Image.new("RGBA", size)
    scene.paste(subject, (left, top))
    if params.shadow != "none":
        scene = shadow.under(
            scene, _shadow(scene.getchannel("A"), subject, params), _OPACITY[params.shadow], (0, 0, 0)
        )
    ground = background(size, params)
    ground.paste(scene, mask=scene.getchannel("A"))
    return Reported(ground, made.method, made.confidence, made.warnings)


def background(size: tuple[int, int], params: Compose) -> Image.Image:
    """The empty scene, RGB, of (width, height) pixels."""
    width, height = size
    wall, floor = (np.array(colour, np.float32) for colour in (params.wall_rgb, params.floor_rgb))
    if params.style == "plain":
        return Image.new("RGB", size, params.wall_rgb)
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    share = np.asarray(y, np.float32) if params.style == "gradient" else _sweep(y, 1 - params.horizon / 100)
    rows = wall + share[:, None] * (floor - wall)
    shade_down, shade_across = (y - 0.42) ** 2, (x - 0.5) ** 2
    pixels = np.empty((height, width, 3), np.uint8)
    across = np.arange(width) % 8
    for top in range(0, height, _STRIP):
        part = slice(top, min(top + _STRIP, height))
        strip = np.repeat(rows[part, None, :], width, axis=1)
        if params.style == "studio":
            strip *= 1 - _LIGHT * 2 * (shade_down[part, None] + shade_across)[..., None]
        threshold = _DITHER[(np.arange(part.start, part.stop) % 8)[:, None], across]
        pixels[part] = np.clip(np.floor(strip + threshold[..., None]), 0, 255)
    return Image.fromarray(pixels)


def _sweep(y: NDArray[np.floating], line: float) -> Floats:
    """0 above the line between wall and floor, 1 below, rounded like a paper sweep."""
    part = np.clip((y - line + _SWEEP) / (2 * _SWEEP), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)


def _canvas(subject: tuple[int, int], aspect: float, params: Compose) -> tuple[int, int]:
    """The smallest canvas of this aspect on which the subject, at its own size, keeps the padding free."""
    free = 1 - 2 * params.padding / 100
    width = max(subject[0] / free, subject[1] / free * aspect)
    return max(1, round(width)), max(1, round(width / aspect))


def _place(size: tuple[int, int], subject: tuple[int, int], params: Compose) -> tuple[int, int]:
    """In a studio the subject stands on the floor, at the lower padding; elsewhere it is in the middle."""
    left, room = (size[0] - subject[0]) // 2, size[1] - subject[1]
    if params.style == "studio":
        return left, max(0, room - round(size[1] * params.padding / 100))
    return left, room // 2


def _shadow(matte: Image.Image, subject: Image.Image, params: Compose) -> Image.Image:
    longer = max(subject.size)
    if params.shadow == "contact":
        return shadow.pool(matte, longer * _CONTACT_BLUR / 100)
    return shadow.cast(matte, longer * _SOFT[0] / 100, (0, round(longer * _SOFT[1] / 100)))

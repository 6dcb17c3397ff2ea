"""compose-v2: a cut-out in a scene with a floor, its shadow and its reflection."""

from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from service.ops.scenery import FLOORS, Scene
from service.ops.values import ratio
from workers.imaging.resize import resize
from workers.ops.bgremove import trim
from workers.ops.bgremove2 import with_cut_out
from workers.ops.pixels import Reported
from workers.ops.scene import Floats, background
from workers.ops.shadow import under
from workers.ops.shadow2 import Light, shadow
from workers.ops.trim import visible
from workers.pixel_errors import PixelError

_MAX_SIDE: Final = 6000  # pixels of the scene; a larger subject is made smaller
_LENGTH: Final = 0.75  # of the cast shadow, in heights of the subject
_SOFTNESS: Final = {"soft": 0.65, "spot": 0.4, "window": 0.2}
_OPACITY: Final = {"soft": 42, "spot": 50, "window": 48}
_SHADE: Final = 0.16  # the colour of a shadow, part of that of the floor
_FALL: Final = 0.45  # how far a reflection reaches, in heights of the subject
_ROUND: Final = 0.12  # most that the underside of a round foot rises, part of the subject's width


def apply(image: Image.Image, params: Scene) -> Reported:
    """The scene, RGB. Raises PixelError op_failed when there is no subject, and what bgremove-v2 raises."""
    found = with_cut_out(image)
    made = found if isinstance(found, Reported) else Reported(found, "alpha")
    if visible(made.image) is None:
        raise PixelError("op_failed", "the picture is wholly transparent, so there is nothing to compose")
    aspect = ratio(params.aspect) if params.aspect else image.width / image.height
    scene = compose(trim(made.image), aspect, params)
    return Reported(scene, made.method, made.confidence, made.warnings)


def compose(subject: Image.Image, aspect: float, params: Scene) -> Image.Image:
    """The subject (RGBA, trimmed) in its scene of this aspect ratio, RGB."""
    size = _canvas(subject.size, aspect, params)
    scale = min(1.0, _MAX_SIDE / max(size))
    if scale < 1:
        size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        subject = resize(
            subject, (max(1, round(subject.width * scale)), max(1, round(subject.height * scale)))
        )
    ground = background(size, params)
    place = _place(size, subject.size, params)
    if params.reflection:
        mirror = reflection(subject, size[1] - place[1] - subject.height, params.reflection)
        ground.paste(mirror, (place[0], place[1]), mirror)
    layer = Image.new("RGBA", size)
    layer.paste(subject, place)
    if params.shadow != "none":
        light = Light(params.angle, _LENGTH, _SOFTNESS[params.light])
        mask = shadow(layer.getchannel("A"), light, cast=params.shadow == "both")
        red, green, blue = (round(level * _SHADE) for level in params.floor_rgb)
        layer = under(layer, mask, _OPACITY[params.light], (red, green, blue))
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def reflection(subject: Image.Image, room: int, strength: int) -> Image.Image:
    """What a smooth floor mirrors of a subject, RGBA: as large as the subject and the room (pixels) below it. It begins
    at the underside of every column, and fades and blurs with distance."""
    width, height = subject.size
    pixels = np.asarray(subject, np.float32)
    lowest = _underside(pixels[..., 3])
    rows = np.arange(height + room, dtype=np.float32)[:, None]
    away = rows - lowest[None, :]
    source = np.rint(lowest[None, :] - 1 - away).astype(int)
    columns = np.arange(width)[None, :]
    mirrored = pixels[np.clip(source, 0, height - 1), columns]
    share = np.clip(1 - away / (_FALL * height), 0, 1) ** 1.6 * strength / 100
    mirrored[..., 3] *= np.where((away >= 0) & (source >= 0), share, 0)
    mirrored[..., :3] *= mirrored[..., 3:] / 255
    soft = ndimage.gaussian_filter(mirrored, (0.006 * height, 0.004 * height, 0))
    level = np.clip(away / (0.2 * height), 0, 1)[..., None]
    mixed = mirrored * (1 - level) + soft * level
    mixed[..., :3] *= 255 / np.maximum(mixed[..., 3:], 1)
    return Image.fromarray(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def _underside(alpha: Floats) -> Floats:
    """The row on which each column of the subject stands; where it hangs over, that of the nearest foot."""
    height, width = alpha.shape
    solid = alpha >= 64
    lowest = height - np.argmax(solid[::-1], axis=0).astype(np.float32)
    foot = np.flatnonzero(solid.any(axis=0) & (height - lowest <= _ROUND * width))
    if not len(foot):
        return np.full(width, height, np.float32)
    rows = np.interp(np.arange(width), foot, lowest[foot])
    return np.asarray(ndimage.gaussian_filter1d(rows, max(1.0, 0.004 * width), mode="nearest"), np.float32)


def _canvas(subject: tuple[int, int], aspect: float, params: Scene) -> tuple[int, int]:
    """The smallest canvas of this aspect on which the subject, at its own size, keeps the padding free."""
    free = 1 - 2 * params.padding / 100
    width = max(subject[0] / free, subject[1] / free * aspect)
    return max(1, round(width)), max(1, round(width / aspect))


def _place(size: tuple[int, int], subject: tuple[int, int], params: Scene) -> tuple[int, int]:
    """On a floor the subject stands at the lower padding; elsewhere it is in the middle."""
    room = size[0] - subject[0]
    margin = min(round(size[0] * params.padding / 100), room // 2)
    left = {"center": room // 2, "left": margin, "right": room - margin}[params.position]
    below = size[1] - subject[1]
    if params.scene in FLOORS:
        return left, max(0, below - round(size[1] * params.padding / 100))
    return left, below // 2

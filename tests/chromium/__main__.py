"""`python -m tests.chromium FOLDER...`: what the decoder makes of every picture below some folders, beside Chromium.

One line for each file that is not alike: its mean difference at 64 pixels (0..255, alpha premultiplied), or what was
refused. Run it on the suites that packages ship: PngSuite, Pillow's Tests/images, ...
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from service.platform.media import CONTENT_TYPES, SourceFormat
from tests.chromium.compare import difference
from tests.chromium.show import show
from workers.imaging.decode import decode
from workers.imaging.opening import open_picture
from workers.imaging.sniff import HEAD_BYTES, sniff
from workers.imaging.types import Claim, Limits, SourceInfo
from workers.imaging.verify import verify
from workers.pixel_errors import PixelError

_SIDE = 64
_ALIKE = 8.0


def main(folders: list[Path]) -> None:
    files = [
        (path, CONTENT_TYPES[kind])
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (kind := _kind(path)) not in {None, "SVG"}
    ]
    with tempfile.TemporaryDirectory() as folder:
        pictures = show(files, Path(folder))
    alike = 0
    for (path, _), expected in zip(files, pictures, strict=True):
        told = _compared(path, expected)
        alike += told is None
        if told is not None:
            print(f"{told:60} {path}")
    print(f"{alike} of {len(files)} alike")


def _kind(path: Path) -> SourceFormat | None:
    try:
        with path.open("rb") as file:
            return sniff(file.read(HEAD_BYTES))
    except PixelError:
        return None


def _compared(path: Path, expected: Image.Image | None) -> str | None:
    """What there is to say of a file; None where both show the same, or Chromium nothing and the decoder something."""
    shown = "" if expected is not None else " and Chromium does not show it"
    try:
        picture = decode(path, _verified(path, expected)).convert("RGBA")
    except PixelError as error:
        return f"{error.code}: {error.detail[:90]}{shown}"
    if expected is None:
        return None
    if picture.size != expected.size:
        return f"{picture.size} instead of {expected.size}"
    apart = difference(_small(picture), _small(expected))
    return f"{apart:.1f}" if apart > _ALIKE else None


def _verified(path: Path, expected: Image.Image | None) -> SourceInfo:
    kind = _kind(path)
    assert kind is not None
    with open_picture(path, kind, Limits().max_pixels) as opened:
        claim = opened.image.size
    try:
        return verify(path, Claim(*claim), Limits())
    except PixelError as error:
        if expected is None or error.code != "dimensions_mismatch":
            raise
    return verify(path, Claim(*expected.size), Limits())


def _small(picture: Image.Image) -> Image.Image:
    return picture.convert("RGBa").resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("RGBA")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])

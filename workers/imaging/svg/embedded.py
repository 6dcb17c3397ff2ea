"""Pictures inside a drawing, as data: URLs: what they are is read from their bytes, whatever their label says."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from PIL import Image

from service.platform.media import CONTENT_TYPES, SourceFormat
from workers.imaging.opening import open_picture
from workers.imaging.sniff import HEAD_BYTES, sniff
from workers.imaging.svg.reading import HREFS, read
from workers.imaging.types import Claim, Limits, SourceInfo
from workers.pixel_errors import PixelError

MAX_PICTURES: Final = 1000
"""Pictures in a drawing and in the drawings inside it."""
MAX_NESTED: Final = 3
"""Drawings inside drawings."""
SANITISED: Final = Limits(max_bytes=2**40, max_side=2**20, max_pixels=2**31, max_frames=2**20)
"""Of embedded pictures once the drawing is sanitised: they have been held to the real limits by then."""


def split(url: str) -> tuple[str, bytes] | None:
    """(media type, bytes) of a data: URL; None for any other URL, and for one that is broken."""
    head, comma, body = url.strip().partition(",")
    scheme, _, label = head.partition(":")
    if scheme.lower() != "data" or not comma:
        return None
    media, *parameters = (part.strip().lower() for part in label.split(";"))
    data = unquote_to_bytes(body.partition("#")[0])
    if parameters and parameters[-1] == "base64":
        data = b"".join(data.split()).rstrip(b"=")
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error:
            return None
    return media, data


def joined(kind: SourceFormat, data: bytes) -> str:
    return f"data:{CONTENT_TYPES[kind]};base64,{base64.b64encode(data).decode('ascii')}"


def kind_of(media: str, data: bytes) -> SourceFormat | None:
    """The format of a picture by its bytes; None for what neither is one nor says so.

    Raises PixelError unsupported_type, corrupt_image for what says that it is a picture.
    """
    try:
        return sniff(data[:HEAD_BYTES])
    except PixelError as error:
        if not media.startswith("image/"):
            return None
        detail = f"A picture inside the drawing cannot be used. {error.detail}"
        raise PixelError(error.code, detail) from error


def pixels_of(kind: SourceFormat, data: bytes, scratch: Path, limits: Limits) -> int:
    """Pixels of a bitmap that has passed every check of an upload. `scratch`: a file to write it to.

    Raises PixelError too_many_pixels, corrupt_image.
    """
    info = _verified(kind, data, scratch, limits)
    return info.width * info.height


def picture(kind: SourceFormat, data: bytes, scratch: Path) -> Image.Image:
    """A bitmap of a sanitised drawing as an upload of its own would be read: upright, sRGB. Raises PixelError."""
    from workers.imaging.decode import decode

    return decode(scratch, _verified(kind, data, scratch, SANITISED))


def bitmaps(drawing: bytes, scratch: Path) -> Iterator[tuple[Path, SourceInfo]]:
    """Every bitmap in a sanitised drawing and in the drawings inside it, one after the other as the file `scratch`.

    Raises PixelError.
    """
    for element in read(drawing).iter():
        for found in filter(None, (split(element.attrib[key]) for key in HREFS if key in element.attrib)):
            kind = kind_of(*found)
            if kind == "SVG":
                yield from bitmaps(found[1], scratch)
            elif kind is not None:
                yield scratch, _verified(kind, found[1], scratch, SANITISED)


def _verified(kind: SourceFormat, data: bytes, scratch: Path, limits: Limits) -> SourceInfo:
    from workers.imaging.verify import verify

    scratch.write_bytes(data)
    with open_picture(io.BytesIO(data), kind, limits.max_pixels) as opened:
        claim = Claim(*opened.image.size)
    return verify(scratch, claim, limits)

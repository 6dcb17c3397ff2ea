"""Pictures inside a drawing, as data: URLs: what they are is read from their bytes, whatever their label says."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from PIL import Image

from service.media import CONTENT_TYPES, SourceFormat
from workers.imaging.errors import PixelError
from workers.imaging.opening import open_picture
from workers.imaging.sniff import HEAD_BYTES, sniff
from workers.imaging.types import Claim, Limits

MAX_PICTURES: Final = 1000
"""Pictures in a drawing and in the drawings inside it."""
MAX_NESTED: Final = 3
"""Drawings inside drawings."""


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
    from workers.imaging.verify import verify

    info = verify(*_claimed(kind, data, scratch, limits), limits)
    return info.width * info.height


def picture(kind: SourceFormat, data: bytes, scratch: Path, limits: Limits) -> Image.Image:
    """A bitmap as an upload of its own would be read: upright, sRGB. Raises PixelError."""
    from workers.imaging.decode import decode
    from workers.imaging.verify import verify

    return decode(scratch, verify(*_claimed(kind, data, scratch, limits), limits))


def _claimed(kind: SourceFormat, data: bytes, scratch: Path, limits: Limits) -> tuple[Path, Claim]:
    scratch.write_bytes(data)
    with open_picture(io.BytesIO(data), kind, limits.max_pixels) as opened:
        return scratch, Claim(*opened.image.size)

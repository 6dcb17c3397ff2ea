"""Media types of the pictures that may be sent. Pure: constants that the service and workers/imaging both read."""

from functools import lru_cache
from typing import Final, Literal

SourceFormat = Literal["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "SVG"]

SVG: Final = "image/svg+xml"
CONTENT_TYPES: Final[dict[SourceFormat, str]] = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "SVG": SVG,
}
EXTENSIONS: Final[dict[str, str]] = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/gif": "gif",
    "image/tiff": "tiff",
    "image/bmp": "bmp",
    SVG: "svg",
}
"""Of the files we keep, by the type that we found."""
ACCEPTED: Final = frozenset({*CONTENT_TYPES.values(), "image/heif"})
"""What a client may call its file, aliases aside: whichever of them, since the bytes decide what it is."""
# Labels that browsers and systems use for the same bytes.
_SAME: Final = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jpe": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-jpeg": "image/jpeg",
    "image/x-webp": "image/webp",
    "image/svg": SVG,
    "image/heif": "image/heic",
    "image/heic-sequence": "image/heic",
    "image/heif-sequence": "image/heic",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "image/apng": "image/png",
    "image/x-png": "image/png",
    "image/tif": "image/tiff",
    "image/x-tif": "image/tiff",
    "image/x-tiff": "image/tiff",
}
# What senders write that do not know.
_SILENT: Final = {"", "application/octet-stream", "binary/octet-stream", "application/unknown"}


def accepted_types(*, svg: bool) -> frozenset[str]:
    """Those of ACCEPTED that a deployment takes; `svg`: whether SVG is one of them."""
    return ACCEPTED if svg else ACCEPTED - {SVG}


@lru_cache(maxsize=256)
def claimed_type(label: str | None) -> str | None:
    """The media type that a label such as `image/JPG; q=1` means, None where it claims nothing about the bytes."""
    plain = (label or "").partition(";")[0].strip().lower()
    return None if plain in _SILENT else _SAME.get(plain, plain)


def says_drawing(filename: str, content_type: str | None) -> bool:
    """Whether a file is announced as an SVG drawing, by its type or its name."""
    return claimed_type(content_type) == SVG or filename.lower().endswith(".svg")

"""What a file is by its first bytes. Names and labels are claims; magic numbers are what decoders obey."""

from __future__ import annotations

import re
from typing import Final

from service.platform.media import SourceFormat
from workers.pixel_errors import PixelError

HEAD_BYTES: Final = 4096

_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_BMP_HEADER_SIZES: Final = {12, 16, 40, 52, 56, 64, 108, 124}

_PICTURES: Final[tuple[tuple[bytes, SourceFormat], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
# Files people really drop on an upload field, so that the refusal can say what it was.
_KNOWN_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF-", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"PK\x03\x04", "a ZIP archive or Office document"),
    (b"\x1f\x8b", "a gzip archive (a drawing in .svgz has to be unpacked to .svg first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"ID3", "an audio file"),
    (b"OggS", "an Ogg file"),
    (b"%!PS", "a PostScript document"),
    (b"RIFF", "a video or sound file"),
)
_MARKUP = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<", re.DOTALL)
# Declarations, comments and a doctype before a root element. Atomic: what one of them took is not tried again.
_PROLOG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?:(?><\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*+(?:\[.*?\]\s*+)?>)\s*+)*+",
    re.DOTALL | re.IGNORECASE,
)
_ROOT = re.compile(rb"<(?:[\w.-]+:)?svg[\s>/]", re.IGNORECASE)
_UNFINISHED = re.compile(rb"<\?xml|<!--|<!DOCTYPE\s+svg", re.IGNORECASE)
ACCEPTED: Final = "JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP and SVG pictures are accepted."


def sniff(head: bytes) -> SourceFormat:
    """The format of a file from its first bytes (HEAD_BYTES of them are enough).

    Raises PixelError unsupported_type, naming what the file seems to be.
    """
    found = _picture(head)
    if found is None:
        raise PixelError("unsupported_type", f"The file is {_describe(head)}. {ACCEPTED}")
    return found


def _picture(head: bytes) -> SourceFormat | None:
    for magic, kind in _PICTURES:
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if _is_drawing(head):
        return "SVG"
    return _iso_picture(head) if head[4:8] == b"ftyp" else None


def _is_drawing(head: bytes) -> bool:
    """Whether an svg element is the root, or may be: of a prolog that is longer than the head, parsing has to tell."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")):
        encoding = "utf-16-be" if head[0] in {0xFE, 0} else "utf-16-le"
        head = head.decode(encoding, "ignore").lstrip("\ufeff").encode()
    prolog = _PROLOG.match(head)
    at = prolog.end() if prolog else 0
    return bool(_ROOT.match(head, at) or _UNFINISHED.match(head, at))


def _iso_picture(head: bytes) -> SourceFormat | None:
    """AVIF and HEIC share the MP4 container; the brands of the first box tell them from a video."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {head[at : at + 4] for at in range(16, end - 3, 4)}
    if major in _AVIF_BRANDS:
        return "AVIF"
    if major in _HEIF_BRANDS:
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF"
    return None


def _describe(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return "a video or another file of the MP4 family"
    for magic, name in _KNOWN_OTHERS:
        if head.startswith(magic):
            return name
    if _MARKUP.match(head):
        return "an HTML or XML document"
    if head and b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head):
        return "text"
    return "of no known picture type"

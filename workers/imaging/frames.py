"""Counting frames and pages by walking the container, so that a bomb of a million frames costs a glance."""

from __future__ import annotations

import os
from typing import BinaryIO

from service.platform.media import SourceFormat

_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


def count_frames(file: BinaryIO, kind: SourceFormat, cap: int) -> int:
    """Frames (GIF, WebP) or pages (TIFF) of a file, counted to cap + 1 at most; 1 for stills and 0 for
    AVIF and HEIF, whose decoders learn the number from the header. Damage ends the count; decoding
    reports it.
    """
    file.seek(0)
    match kind:
        case "GIF":
            return _gif(file.read(), cap)
        case "WEBP":
            return _webp(file, cap)
        case "TIFF":
            return _tiff(file, cap)
        case "AVIF" | "HEIF":
            return 0
        case _:
            return 1


def _gif(data: bytes, cap: int) -> int:
    """GIF89a blocks: an image or extension introducer, then sub-blocks of at most 255 bytes, then a zero."""
    frames, at = 0, 13 + _gif_palette(data, 10)
    while at < len(data) and frames <= cap:
        if data[at] == _GIF_EXTENSION:
            at += 2
        elif data[at] == _GIF_IMAGE:
            frames += 1
            at += 11 + _gif_palette(data, at + 9)
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return max(frames, 1)


def _gif_palette(data: bytes, flags_at: int) -> int:
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(file: BinaryIO, cap: int) -> int:
    """RIFF chunks: every ANMF is a frame."""
    frames, end = 0, file.seek(0, os.SEEK_END)
    at = 12
    while at + 8 <= end and frames <= cap:
        file.seek(at)
        head = file.read(8)
        frames += head[:4] == b"ANMF"
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + (length & 1)
    return max(frames, 1)


def _tiff(file: BinaryIO, cap: int) -> int:
    """The chain of image file directories; a loop in it ends at the cap like any other bomb."""
    head = file.read(16)
    order = "little" if head.startswith(b"II") else "big"
    big = 43 in (head[2], head[3])
    count_bytes, entry_bytes, offset_bytes = (8, 20, 8) if big else (2, 12, 4)
    at = int.from_bytes(head[8:16] if big else head[4:8], order)  # type: ignore[arg-type]
    pages = 0
    end = file.seek(0, os.SEEK_END)
    while 0 < at < end and pages <= cap:
        pages += 1
        file.seek(at)
        entries = int.from_bytes(file.read(count_bytes), order)  # type: ignore[arg-type]
        after = at + count_bytes + entries * entry_bytes
        if after + offset_bytes > end:
            break
        file.seek(after)
        at = int.from_bytes(file.read(offset_bytes), order)  # type: ignore[arg-type]
    return max(pages, 1)

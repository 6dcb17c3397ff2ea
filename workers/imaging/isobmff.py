"""The colours that the container of an AVIF names: the nclx properties of its primary picture, which Pillow keeps to
itself. HEIF has the same boxes, but its decoder tells."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from workers.imaging.colour_space import ColourSpace, by_code

_UNSPECIFIED: Final = 2
_BT709_PRIMARIES, _SRGB_TRANSFER = 1, 13
_VIDEO_TRANSFERS: Final = frozenset({1, 6, 14, 15, _UNSPECIFIED})


def nclx_space(primaries: int, transfer: int) -> ColourSpace | None:
    """The space of an nclx property. The curves of BT.709 and its kin stand for sRGB's in still pictures, and so do
    unspecified values: that is how Chromium shows them."""
    return by_code(
        _BT709_PRIMARIES if primaries == _UNSPECIFIED else primaries,
        _SRGB_TRANSFER if transfer in _VIDEO_TRANSFERS else transfer,
    )


def primary_space(data: bytes) -> ColourSpace | None:
    """The space of the primary picture, or of the first track of a sequence; None without one. Never raises: damage
    is for the decoder to report."""
    try:
        nclx = _of_primary_item(data) or _of_track(data)
    except (struct.error, IndexError):
        return None
    return nclx_space(*nclx) if nclx else None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the contents of each box between two offsets."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            return
        yield kind, start + head, start + size
        start += size


def _find(data: bytes, path: tuple[bytes, ...], start: int, end: int) -> tuple[int, int] | None:
    for kind, inner, stop in _boxes(data, start, end):
        if kind == path[0]:
            first = inner + (4 if kind in {b"meta", b"stsd"} else 0)  # behind version and flags
            return (first, stop) if len(path) == 1 else _find(data, path[1:], first, stop)
    return None


def _nclx(data: bytes, start: int) -> tuple[int, int] | None:
    if data[start : start + 4] != b"nclx":
        return None
    primaries, transfer = struct.unpack_from(">HH", data, start + 4)
    return primaries, transfer


def _of_primary_item(data: bytes) -> tuple[int, int] | None:
    meta = _find(data, (b"meta",), 0, len(data))
    if meta is None:
        return None
    pitm, ipco = _find(data, (b"pitm",), *meta), _find(data, (b"iprp", b"ipco"), *meta)
    ipma = _find(data, (b"iprp", b"ipma"), *meta)
    if pitm is None or ipco is None or ipma is None:
        return None
    primary = struct.unpack_from(">I" if data[pitm[0]] else ">H", data, pitm[0] + 4)[0]
    properties = list(_boxes(data, *ipco))
    for index in _associated(data, *ipma, primary):
        kind, start, _ = properties[index - 1] if 0 < index <= len(properties) else (b"", 0, 0)
        if kind == b"colr" and (nclx := _nclx(data, start)) is not None:
            return nclx
    return None


def _associated(data: bytes, start: int, end: int, item: int) -> list[int]:
    """Numbers, from 1, of the properties of an item."""
    version, wide = data[start], bool(data[start + 3] & 1)
    count, at = struct.unpack_from(">I", data, start + 4)[0], start + 8
    for _ in range(count):
        if at >= end:
            break
        found, number = struct.unpack_from(">IB" if version else ">HB", data, at)
        at += 5 if version else 3
        size = 2 if wide else 1
        if found == item:
            mask = 0x7FFF if wide else 0x7F
            return [
                int.from_bytes(data[at + size * index : at + size * (index + 1)], "big") & mask
                for index in range(number)
            ]
        at += size * number
    return []


def _of_track(data: bytes) -> tuple[int, int] | None:
    entries = _find(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"), 0, len(data))
    if entries is None:
        return None
    for _, start, end in _boxes(data, entries[0] + 4, entries[1]):
        for kind, inner, _ in _boxes(data, start + 78, end):  # the fixed part of a visual sample entry
            if kind == b"colr" and (nclx := _nclx(data, inner)) is not None:
                return nclx
    return None

"""Bytes are never trusted before they are checked: type, dimensions and frames, without decoding a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from service.platform.media import CONTENT_TYPES, SVG, SourceFormat
from workers.imaging.frames import count_frames
from workers.imaging.opening import open_picture
from workers.imaging.sniff import HEAD_BYTES, sniff
from workers.imaging.svg.size import check_claim, drawing_size
from workers.imaging.types import Claim, Limits, SourceInfo
from workers.pixel_errors import PixelError


def verify(source: Path, claim: Claim, limits: Limits) -> SourceInfo:
    """Check a file against what its sender claimed and what we accept; no pixel is decoded. What it is, its bytes say.

    Raises PixelError: too_large, unsupported_type, too_many_pixels, dimensions_mismatch, corrupt_image.
    """
    size = source.stat().st_size
    if size > limits.max_bytes:
        raise PixelError("too_large", f"The file has {size} bytes; at most {limits.max_bytes} are accepted.")
    if size == 0:
        raise PixelError("corrupt_image", "The file is empty.")
    with source.open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES))
        if kind == "SVG":
            return _drawing(source, size, claim, limits)
        frames = _check_frames(file, kind, limits)
    with open_picture(source, kind, limits.max_pixels) as picture:
        width, height = picture.image.size
        _check_pixels(width, height, limits)
        frames = frames or int(getattr(picture.image, "n_frames", 1))
    _check_dimensions(width, height, picture.turned, claim)
    return SourceInfo(
        format=kind,
        content_type=CONTENT_TYPES[kind],
        width=width,
        height=height,
        orientation=picture.orientation,
        frames=frames,
        size=size,
    )


def _drawing(source: Path, size: int, claim: Claim, limits: Limits) -> SourceInfo:
    """A drawing by its root element; the rest is read when it is sanitised."""
    if not limits.svg:
        raise PixelError("unsupported_type", "The file is an SVG drawing, which is not accepted here.")
    width, height = drawing_size(source, limits)
    check_claim((width, height), claim)
    return SourceInfo("SVG", SVG, width, height, orientation=1, frames=1, size=size)


def _check_frames(file: BinaryIO, kind: SourceFormat, limits: Limits) -> int:
    """Frames counted by walking the container, stopping above the limit; 0 where the decoder knows them."""
    frames = count_frames(file, kind, limits.max_frames)
    if frames > limits.max_frames:
        raise PixelError("too_many_pixels", f"The picture has more than {limits.max_frames} frames or pages.")
    return frames


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise PixelError("corrupt_image", f"The picture is {width} × {height} pixels.")
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise PixelError(
            "too_many_pixels",
            f"The picture is {width} × {height} pixels; at most {limits.max_side} a side "
            f"and {limits.max_pixels} in all are accepted.",
        )


def _check_dimensions(width: int, height: int, turned: bool, claim: Claim) -> None:
    """A client that reads the header and one that asks a browser differ when metadata turns the picture, and browsers
    differ in which metadata they obey."""
    claimed = (claim.width, claim.height)
    if claimed == (width, height) or (turned and claimed == (height, width)):
        return
    raise PixelError(
        "dimensions_mismatch",
        f"The picture was announced as {claim.width} × {claim.height} pixels but is {width} × {height}.",
    )

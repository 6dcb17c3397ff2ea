"""Writing results. Pictures come bare out of decode(), so nothing but pixels is written."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Final

import fpng_py
from PIL import Image, ImageFile

from workers.imaging.adam7 import interlaced_png
from workers.imaging.types import EncodedFile, Encoding
from workers.pixel_errors import PixelError

# What the formats themselves can hold, in pixels a side.
_MAX_SIDE: Final = {"webp": 16383, "jpeg": 65535, "avif": 65535, "png": 2**24}
_ALL_COLOUR: Final = 90
"""Quality from which colour detail is kept: it is dropped only where the quality asked for says so."""
_SLOW_AVIF_PIXELS: Final = 2_000_000
"""Up to here AVIF is written at speed 6: 0.3 s of CPU per megapixel, 6 % smaller and 0.2 dB better than at speed 8,
which takes 0.1 s."""
_FPNG_CHANNELS: Final = {"RGB": 3, "RGBA": 4}


def encode(image: Image.Image, encoding: Encoding, path: Path) -> EncodedFile:
    """Write an RGB or RGBA picture to path. Raises as encoded() does."""
    return write_encoded(image, encoding, encoded(image, encoding), path)


def encoded(image: Image.Image, encoding: Encoding) -> bytes:
    """An RGB or RGBA picture as the bytes of a file. JPEG has no alpha: it is laid on white.

    Raises PixelError op_failed when the format cannot hold the picture, MemoryError when encoding it takes
    more than there is.
    """
    if max(image.size) > _MAX_SIDE[encoding.format]:
        limit = _MAX_SIDE[encoding.format]
        raise PixelError(
            "op_failed",
            f"{encoding.format.upper()} holds at most {limit} pixels a side; "
            f"the result has {image.width} × {image.height}.",
        )
    if encoding.format == "png":
        return interlaced_png(image) if encoding.progressive else _png(image)
    return _lossy(image, encoding)


def write_encoded(image: Image.Image, encoding: Encoding, data: bytes, path: Path) -> EncodedFile:
    """Write what encoded() made of a picture."""
    path.write_bytes(data)
    return EncodedFile(
        path=path,
        width=image.width,
        height=image.height,
        content_type=encoding.content_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _lossy(image: Image.Image, encoding: Encoding) -> bytes:
    options: dict[str, Any] = {"quality": encoding.quality}
    match encoding.format:
        case "webp" if encoding.lossless:
            options = {"lossless": True, "quality": 40, "method": 2}  # here quality means effort
        case "webp":
            options["method"] = 2  # half the time of the default 4 for 4 % more bytes
        case "avif":
            small = image.width * image.height <= _SLOW_AVIF_PIXELS
            options |= {"speed": 6 if small else 8, "max_threads": 2}
            if encoding.lossless:
                options |= {"quality": 100}
            if encoding.lossless or encoding.quality >= _ALL_COLOUR:
                options |= {"subsampling": "4:4:4"}
        case _:
            image = flatten(image)
            # An optimised or progressive JPEG must fit in one buffer, and Pillow's guess is too small for noise.
            ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 4 * image.width * image.height)
            options |= {
                "optimize": True,
                "progressive": encoding.progressive is not False,
                "subsampling": 0 if encoding.quality >= _ALL_COLOUR else 2,
            }
    buffer = io.BytesIO()
    try:
        image.save(buffer, encoding.format.upper(), **options)
    except ValueError as error:
        # libwebp's VP8_ENC_ERROR_OUT_OF_MEMORY is 1, BITSTREAM_OUT_OF_MEMORY 2; Pillow passes the number on.
        if str(error) in {"encoding error 1", "encoding error 2"}:
            raise MemoryError(str(error)) from error
        raise
    except RuntimeError as error:  # all that libavif says of an encoder that runs out of memory
        if encoding.format == "avif" and "Encoding of" in str(error):
            raise MemoryError(str(error)) from error
        raise
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    """PNG by fpng, many times as fast as zlib, where it runs and where it does not swell the picture."""
    data = _fpng(image)
    if data is None:
        return _zlib_png(image, level=1)
    if len(data) * 3 < image.width * image.height * len(image.getbands()) and _is_drawn(image):
        return _zlib_png(image, level=6)
    return data


def _fpng(image: Image.Image) -> bytes | None:
    """None without SSE 4.1, or for a mode it does not write."""
    channels = _FPNG_CHANNELS.get(image.mode)
    if channels is None or not fpng_py.fpng_cpu_supports_sse41():
        return None
    data: bytes = fpng_py.fpng_encode_image_to_memory(
        image.tobytes(), image.width, image.height, channels, fpng_py.CompressionFlags.FPNG_ENCODE_SLOWER
    )
    return data or None


def _zlib_png(image: Image.Image, level: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def _is_drawn(image: Image.Image) -> bool:
    """Whether a band across the middle says that fpng, made for photos, writes text and line art several times as
    large as zlib does; zlib is quick on those."""
    middle = image.height // 2
    band = image.crop((0, max(0, middle - 32), image.width, min(image.height, middle + 32)))
    return len(_fpng(band) or b"") > 1.5 * len(_zlib_png(band, level=1))


def flatten(image: Image.Image, colour: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """An RGBA picture laid on a colour; RGB passes unchanged."""
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, colour)
    ground.paste(image, mask=image.getchannel("A"))
    return ground

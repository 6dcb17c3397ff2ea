"""Opening a picture with one decoder only, and every decoder's own exceptions turned into ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import (  # each plugin registers its format: Image.open() with a list of formats looks no further
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from service.media import SourceFormat
from workers.imaging.errors import PixelError

# A truncated picture is an error, never a half-grey result.
ImageFile.LOAD_TRUNCATED_IMAGES = False


@contextmanager
def opened(source: Path | IO[bytes], kind: SourceFormat, max_pixels: int) -> Iterator[Image.Image]:
    """The picture of a file, header read and pixels not, by the decoder of the sniffed format alone.

    max_pixels is Pillow's own guard, in force before a decoder allocates its canvas. Inside, whatever a
    decoder raises becomes PixelError: too_many_pixels from that guard, corrupt_image from anything else.
    MemoryError passes: it is the child's limit speaking.
    """
    if kind == "HEIF":
        _register_heif()
    guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=[kind]) as image:
                yield image
    except (PixelError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PixelError("too_many_pixels", "The picture has more pixels than are accepted.") from error
    except UnidentifiedImageError as error:  # its own message names our file
        raise PixelError("corrupt_image", "The picture cannot be decoded: its header is damaged.") from error
    except Exception as error:
        # Decoders raise nearly anything on hostile bytes (SyntaxError, struct.error, KeyError, …).
        reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
        raise PixelError("corrupt_image", f"The picture cannot be decoded: {reason}.") from error
    finally:
        Image.MAX_IMAGE_PIXELS = guard


def _register_heif() -> None:
    if "HEIF" in Image.OPEN:
        return
    import pillow_heif

    # Embedded thumbnails would bypass the main picture; depth and auxiliary pictures are of no use here.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=2)

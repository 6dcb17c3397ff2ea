"""Opening a picture with one decoder only, and every decoder's own exceptions turned into ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from PIL import (  # each plugin registers its format: Image.open() with a list of formats looks no further
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from service.platform.media import SourceFormat
from workers.imaging import bmp, isobmff, jpeg, png
from workers.imaging.colour_space import ColourSpace
from workers.imaging.spans import through
from workers.pixel_errors import PixelError

# A truncated picture is an error, never a half-grey result.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# A camera's profile has some kB, a press profile up to a few MB.
MAX_PROFILE_BYTES: Final = 8 * 1024 * 1024
MAX_SCANS: Final = 200
_ORIENTATION: Final = 0x0112
# What decoders say of a file that is sound but of a kind that they do not know.
_NOT_SUPPORTED: Final = (
    "unknown pixel mode",
    "unsupported",
    "not supported",
    "invalid palette size",
    "no codec",
)
# Of TIFF: what libtiff may be built without.
_OPTIONAL_CODECS: Final = frozenset({"webp", "zstd", "lzma"})
# Layouts of TIFF that Pillow could read but does not list: byte order, photometric, format, fill order, bits, extra.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 1, (1,), 1, (32,), ()), ("I", "I;32B"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture whose header is read and whose pixels are not.

    image: as Pillow opened it; load: its pixels, in any of Pillow's modes; colours: what its numbers mean, a space or
    an ICC profile, None for sRGB; orientation: the EXIF value, 1..8, that browsers obey and the decoder does not;
    turned: whether any of its metadata, obeyed or not, calls for a quarter turn.
    """

    image: Image.Image
    load: Callable[[], Image.Image]
    colours: ColourSpace | bytes | None = None
    orientation: int = 1
    turned: bool = False


@contextmanager
def open_picture(
    source: Path | BinaryIO, kind: SourceFormat, max_pixels: int, *, animated: bool = False
) -> Iterator[Picture]:
    """The picture of a file by the decoder of the sniffed format alone. animated: its image may be asked for the
    frames behind the first.

    max_pixels is Pillow's own guard, in force before a decoder allocates its canvas. Inside, whatever a
    decoder raises becomes PixelError: too_many_pixels from that guard, unsupported_type where the file is sound but
    of a kind that is not read, corrupt_image from anything else. MemoryError passes: it is the child's limit speaking.
    """
    if kind == "HEIF":
        _register_heif()
    guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _binary(source) as file, _READERS[kind](file, kind, animated) as picture:
                yield picture
    except (PixelError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PixelError("too_many_pixels", "The picture has more pixels than are accepted.") from error
    except Exception as error:
        # Decoders raise nearly anything on hostile bytes (SyntaxError, struct.error, KeyError, …).
        raise _refusal(kind, error) from error
    finally:
        Image.MAX_IMAGE_PIXELS = guard


@contextmanager
def _binary(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield source


def _open(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    try:
        return Image.open(file, formats=[kind])
    except UnidentifiedImageError:
        # Image.open keeps what its plugin says to itself: ask the plugin alone.
        file.seek(0)
        plugin, _ = Image.OPEN[kind]
        plugin(file, "")
        raise


def _refusal(kind: SourceFormat, error: Exception) -> PixelError:
    if isinstance(error, UnidentifiedImageError):  # its own message names our file
        return PixelError("corrupt_image", "The picture cannot be decoded: its header is damaged.")
    reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
    if kind == "TIFF" and isinstance(error.__cause__, KeyError):
        # By a number in Pillow's table of compressions, by a tuple in its table of layouts.
        known = isinstance(error.__cause__.args[0], tuple)
        return unsupported(kind, "an uncommon layout of its pixels" if known else f"compression {reason}")
    if any(words in reason.lower() for words in _NOT_SUPPORTED):
        return unsupported(kind, reason)
    return PixelError("corrupt_image", f"The picture cannot be decoded: {reason}.")


def unsupported(kind: SourceFormat, reason: str) -> PixelError:
    return PixelError(
        "unsupported_type",
        f"The picture is a {kind} file of a kind that is not supported ({reason}). "
        "Save it with 8 bits for each colour, or as PNG or JPEG, and try again.",
    )


@contextmanager
def _png(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    read = png.read(file, animated=animated)

    def again() -> ImageFile.ImageFile:
        return _open(through(file, read.parts, read.tail), kind)

    with again() as image:
        orientation = _in_exif(read.chunks.get(b"eXIf"))
        yield Picture(
            image,
            lambda: png.with_transparent_colour(image, read, again),
            png.colours(read, MAX_PROFILE_BYTES),
            orientation,
            orientation >= 5,
        )


@contextmanager
def _jpeg(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    file.seek(0)
    data = file.read()
    read = jpeg.read(data, MAX_SCANS)
    _check_jpeg(read)

    def with_tail(tail: bytes) -> ImageFile.ImageFile:
        return _open(through(file, [(0, len(data))], tail), kind)

    def load() -> Image.Image:
        if not read.ended:
            jpeg.check_whole(read, with_tail)
        image.load()
        return image

    with with_tail(b"" if read.ended else jpeg.END) as image:
        orientation = _in_exif(image.info.get("exif"))
        yield Picture(image, load, _profile(image), orientation, orientation >= 5)


def _check_jpeg(read: jpeg.Jpeg) -> None:
    """A progressive JPEG has some ten scans. Each costs a pass over every coefficient, however few its bytes:
    thousands of them are an attack on the clock."""
    if read.scans > MAX_SCANS:
        raise PixelError(
            "corrupt_image", f"The picture has more than {MAX_SCANS} scans; no camera or editor writes that."
        )
    if read.precision > 8 or read.frame in jpeg.LOSSLESS:
        raise unsupported("JPEG", f"{read.precision} bits, coding {read.frame & 15}")


@contextmanager
def _gif(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    with _open(file, kind) as image:
        drawn = image.tile[0].extents if image.tile else None

        def load() -> Image.Image:
            image.load()
            if drawn is None or (
                drawn[0] <= 0 and drawn[1] <= 0 and drawn[2] >= image.width and drawn[3] >= image.height
            ):
                return image
            # What no frame has drawn is transparent, whatever the file calls its background.
            canvas = Image.new("RGBA", image.size)
            canvas.paste(image.convert("RGBA").crop(drawn), drawn[:2])
            return canvas

        yield Picture(image, load)


@contextmanager
def _bmp(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    masks = bmp.masks(file.read(128))
    file.seek(0)
    with _open(file, kind if masks is None else bmp.FORMAT) as image:
        yield Picture(image, lambda: _loaded(image) if masks is None else bmp.unmasked(image, masks))


@contextmanager
def _avif(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    space = isobmff.primary_space(file.read())
    file.seek(0)
    with _open(file, kind) as image:
        orientation = _in_exif(image.info.get("exif"))  # made by Pillow of the container's own boxes
        yield Picture(image, lambda: _loaded(image), _profile(image) or space, orientation, orientation >= 5)


@contextmanager
def _heif(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    with _open(file, kind) as image:
        nclx = image.info.get("nclx_profile")
        space = (
            isobmff.nclx_space(nclx["color_primaries"], nclx["transfer_characteristics"]) if nclx else None
        )
        turned = image.info.get("original_orientation") or 1
        # The decoder delivers the oriented picture.
        yield Picture(image, lambda: _loaded(image), _profile(image) or space, 1, turned >= 5)


@contextmanager
def _tiff(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    with _open(file, kind) as image:
        image.info.pop("xmp", None)  # Pillow would turn the picture by it
        told = image.getexif().get(_ORIENTATION)

        def load() -> Image.Image:
            try:
                return _loaded(image)
            except OSError as error:
                if (compression := image.info.get("compression")) in _OPTIONAL_CODECS:
                    raise unsupported(kind, f"compressed by {compression}") from error
                raise

        # The decoder delivers the oriented picture.
        yield Picture(image, load, _profile(image), 1, isinstance(told, int) and 5 <= told <= 8)


@contextmanager
def _webp(file: BinaryIO, kind: SourceFormat, animated: bool) -> Iterator[Picture]:
    with _open(file, kind) as image:
        turned = _in_exif(image.info.get("exif")) >= 5  # which no browser obeys
        yield Picture(image, lambda: _loaded(image), _profile(image), 1, turned)


_READERS: Final = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "BMP": _bmp,
    "AVIF": _avif,
    "HEIF": _heif,
    "TIFF": _tiff,
    "WEBP": _webp,
}


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and 0 < len(profile) <= MAX_PROFILE_BYTES else None


def _in_exif(raw: object) -> int:
    """The orientation in bytes of EXIF, 1 when absent or absurd. XMP, where Pillow would look next, is not obeyed."""
    if not isinstance(raw, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(_ORIENTATION)
    except Exception:  # broken metadata is dropped anyway; the pixels may be fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _register_heif() -> None:
    if "HEIF" in Image.OPEN:
        return
    import pillow_heif

    # Embedded thumbnails would bypass the main picture; depth and auxiliary pictures are of no use here.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=2)

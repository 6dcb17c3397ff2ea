"""Values that travel between the worker and its pixel children: plain, frozen, picklable."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from service.ops.inputs import InputDocument
from service.ops.outputs import Features, StepReport
from service.platform.media import SourceFormat

OutputFormat = Literal["webp", "jpeg", "png", "avif"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the client said about its file. width, height: pixels, encoded or EXIF-oriented; drawing: that it may be an
    SVG drawing, so that its result is held to the side its plan works at."""

    width: int
    height: int
    drawing: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What we accept: bytes of the file, pixels of a side, pixels in all, frames or pages, drawings at all."""

    max_bytes: int = 50 * 1024 * 1024
    max_side: int = 8192
    max_pixels: int = 50_000_000
    max_frames: int = 1000
    svg: bool = True


@dataclass(frozen=True, slots=True)
class PixelTask:
    """One job for a child. source: the downloaded bytes; workdir: a directory of the task's own;
    op_key: canonical chain; working_side: longest side, pixels, to work at (None: as large as it is);
    marked: put the preview's watermark over the result; moderate: look at what source and result show; inputs: the
    input documents that the chain takes, by digest."""

    source: Path
    workdir: Path
    op_key: str
    claim: Claim
    limits: Limits = field(default_factory=Limits)
    working_side: int | None = None
    marked: bool = False
    moderate: bool = False
    inputs: dict[str, InputDocument] = field(default_factory=dict)


Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class NsfwScores:
    """How probably what was looked at is pornographic. source: the worst of the upload, all its frames and what its
    transparency hides; worst: of source and result together; None where nothing was looked at, being too small."""

    source: Probability | None
    worst: Probability | None


@dataclass(frozen=True, slots=True)
class PixelResult:
    """What a child made. original: the file to keep as the verified original, the source itself or the
    sanitised drawing; output, thumb: files in the task's workdir; size: bytes and sha256: hex of the output;
    timings: milliseconds by step; report: what steps say of their results, in the order of the chain; features: what
    was measured on the output, None of an original that is only kept; nsfw:
    where the task asked to moderate."""

    original: Path
    output: Path
    thumb: Path
    width: int
    height: int
    content_type: str
    size: int
    sha256: str
    source_format: SourceFormat
    source_width: int
    source_height: int
    timings: dict[str, float] = field(default_factory=dict)
    report: tuple[StepReport, ...] = ()
    features: Features | None = None
    nsfw: NsfwScores | None = None


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What the header of a verified file says. width, height: pixels as encoded; orientation: the EXIF
    value (1..8) that decoding still has to bake in; size: bytes."""

    format: SourceFormat
    content_type: str
    width: int
    height: int
    orientation: int
    frames: int
    size: int

    @property
    def oriented(self) -> tuple[int, int]:
        """(width, height) as a viewer shows it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How to write the result. quality: 1..100, for lossy formats; lossless: WebP exactly, AVIF within
    the rounding of its colour space; PNG always is; progressive: coarse to fine, which JPEG is unless told otherwise,
    and PNG only where it is told to be."""

    format: OutputFormat = "webp"
    quality: int = 85
    lossless: bool = False
    progressive: bool | None = None

    @property
    def extension(self) -> str:
        return "jpg" if self.format == "jpeg" else self.format

    @property
    def content_type(self) -> str:
        return f"image/{self.format}"


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """A written picture. width, height: pixels; size: bytes; sha256: hex."""

    path: Path
    width: int
    height: int
    content_type: str
    size: int
    sha256: str

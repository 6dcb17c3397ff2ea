"""Makes docs/images/main-job.webp, the picture of the README, from a demo's result:

./scripts/run --once --out DIR && .venv/bin/python -m scripts.docs.main_job DIR/output.webp
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
HEIGHT = 560


def main(output: Path) -> None:
    """The sample photo and what the main job made of it, side by side."""
    before = ImageOps.exif_transpose(Image.open(ROOT / "scripts/local/sample.jpg")).convert("RGB")
    after = Image.open(output).convert("RGB")
    pair = [ImageOps.contain(picture, (4 * HEIGHT, HEIGHT)) for picture in (before, after)]
    sheet = Image.new("RGB", (sum(picture.width for picture in pair), HEIGHT), "white")
    sheet.paste(pair[0], (0, 0))
    sheet.paste(pair[1], (pair[0].width, 0))
    sheet.save(ROOT / "docs/images/main-job.webp", quality=82)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

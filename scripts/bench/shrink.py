"""Our side of what `scripts/bench/sharp.mjs` does, in a process with a pixel child's environment: reads lines of JSON
{source, side, output, thumb}, answers each with {seconds} of processor time. Verification included."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from PIL import Image

from workers.imaging.decode import decode
from workers.imaging.encode import encode
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import Claim, Encoding, Limits
from workers.imaging.verify import verify


def shrink(source: Path, side: int, output: Path, thumb: Path) -> None:
    """The JPEG with its long side at most `side`, as WebP, and a thumbnail of it."""
    with Image.open(source) as header:
        claim = Claim(*header.size)
    picture = decode(source, verify(source, claim, Limits()), side)
    encode(picture, Encoding("webp", 85), output)
    thumbnail(picture, thumb)


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        started = time.process_time()
        shrink(Path(task["source"]), task["side"], Path(task["output"]), Path(task["thumb"]))
        print(json.dumps({"seconds": time.process_time() - started}), flush=True)


if __name__ == "__main__":
    main()

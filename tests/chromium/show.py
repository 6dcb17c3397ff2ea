"""What Chromium shows of picture files, to compare our decoder with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from scripts.local.lite import NODE

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
_SCRIPT = Path(__file__).with_name("show.mjs")


def show(files: Sequence[tuple[Path, str]], folder: Path) -> list[Image.Image | None]:
    """Files (path, content type) as RGBA pictures of what Chromium shows; None for what it cannot. folder: where the
    screenshots go. Raises subprocess.CalledProcessError."""
    wanted = [
        (str(path), content_type, str(folder / f"{number}.png"))
        for number, (path, content_type) in enumerate(files)
    ]
    told = subprocess.run(
        [NODE, _SCRIPT],
        input=json.dumps({"chromium": CHROMIUM, "files": wanted}).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return [
        None if size is None else Image.open(target).convert("RGBA")
        for size, (_, _, target) in zip(json.loads(told.stdout), wanted, strict=True)
    ]

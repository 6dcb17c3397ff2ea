"""Every drawing of cases.py, sanitised and drawn here, looks as Chromium draws the original in the same fonts."""

from __future__ import annotations

import asyncio
import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.local.home import REPOSITORY
from scripts.local.lite import NODE
from tests.browser.test_browser import CHROMIUM
from tests.workers.imaging.svg.cases import cases
from workers.imaging.svg.raster import rasterise
from workers.imaging.svg.sanitise import sanitise
from workers.imaging.svg.size import drawing_size
from workers.imaging.types import Limits

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CASES = cases()
STAND_INS = {
    **dict.fromkeys(("Arial", "Helvetica", "sans-serif"), "Arimo"),
    **dict.fromkeys(("Times New Roman", "serif"), "Tinos"),
    **dict.fromkeys(("Courier New", "monospace"), "Cousine"),
}


def _write_fonts(folder: Path) -> Path:
    """A fontconfig file by which Chromium has the fonts that we have, and no other."""
    package = find_spec("noto_cjk_sans_jp_regular")
    assert package is not None
    assert package.origin is not None
    places = [REPOSITORY / "node_modules" / "@expo-google-fonts", Path(package.origin).parent]
    rules = [
        f'<match target="pattern"><test name="family"><string>{name}</string></test>'
        f'<edit name="family" mode="assign" binding="same"><string>{family}</string></edit></match>'
        for name, family in STAND_INS.items()
    ]
    parts = [f"<dir>{place}</dir>" for place in places] + [f"<cachedir>{folder}</cachedir>", *rules]
    file = folder / "fonts.conf"
    file.write_text(f'<?xml version="1.0"?><fontconfig>{"".join(parts)}</fontconfig>')
    return file


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `<number>.svg.png` is what Chromium makes of each case, in their order."""
    folder = tmp_path_factory.mktemp("drawings")
    drawings = []
    for number, (name, data) in enumerate(CASES.items()):
        source = folder / f"{number}.svg"
        source.write_bytes(data)
        width, height = drawing_size(source, Limits())
        drawings.append({"name": name, "source": str(source), "width": width, "height": height})
    process = await asyncio.create_subprocess_exec(
        NODE,
        Path(__file__).with_name("chromium.mjs"),
        cwd=REPOSITORY,
        env=os.environ
        | {
            "DRAWINGS": json.dumps({"chromium": CHROMIUM, "drawings": drawings}),
            "FONTCONFIG_FILE": str(_write_fonts(folder)),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert [line for line in map(json.loads, out.splitlines()) if line["error"]] == []
    return folder


@pytest.mark.parametrize("name", CASES)
def test_looks_as_in_chromium(folder: Path, name: str) -> None:
    source = folder / f"{list(CASES).index(name)}.svg"
    sanitise(source, folder / "original.svg", Limits())
    with Image.open(f"{source}.png") as theirs:
        ours = rasterise(folder / "original.svg", theirs.size)
        difference = np.abs(_small(ours) - _small(theirs.convert("RGBA")))
    assert difference.mean() <= 8
    assert (difference.max(axis=2) > 64).mean() <= 0.07


def _small(picture: Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.int16]]:
    """The picture within 64 pixels, as rows of premultiplied RGBA."""
    scale = 64 / max(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    channels = picture.convert("RGBa").resize(size, Image.Resampling.BOX).split()
    return np.stack([np.asarray(channel, dtype=np.int16) for channel in channels], axis=-1)

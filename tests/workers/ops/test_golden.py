"""The pixels of a version never change: results that were kept when it was published, compared with those of today.

Models round a little differently on other kinds of processors, so a few levels are allowed. A new key is added by

    python -m tests.workers.ops.test_golden
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from scripts.docs.scene import mug
from service.ops.registry import parse
from tests.workers.ops.conftest import open_models
from workers.ops import pipeline

GOLDEN: Final = Path(__file__).parent / "golden"
KEYS: Final = ("upscale-v2:factor-2", "upscale-v2:factor-3", "upscale-v2:factor-2:model-large")


def _made(op_key: str) -> Image.Image:
    return pipeline.run(parse(op_key), mug((96, 72)).photo)[0]


def _path(op_key: str) -> Path:
    return GOLDEN / f"{op_key.replace(':', '_')}.png"


@pytest.mark.parametrize("op_key", KEYS)
def test_a_version_keeps_its_pixels(op_key: str) -> None:
    with Image.open(_path(op_key)) as opened:
        kept = np.asarray(opened).astype(int)
    made = np.asarray(_made(op_key)).astype(int)
    assert made.shape == kept.shape
    assert np.abs(made - kept).max() <= 3
    assert np.abs(made - kept).mean() <= 0.1


if __name__ == "__main__":
    open_models()
    GOLDEN.mkdir(exist_ok=True)
    for key in KEYS:
        if not _path(key).exists():
            _made(key).save(_path(key), optimize=True)

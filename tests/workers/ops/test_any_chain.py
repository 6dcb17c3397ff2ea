"""Any valid op_key on any small picture gives a picture, or op_failed with a reason; never anything else."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.ops.inputs import Strokes
from service.ops.models import Resize, UpscaleV2
from service.ops.registry import parse
from service.ops.size import planned_side
from tests.ops.strategies import chains
from tests.support import examples
from tests.workers.ops.pictures import noise
from workers.imaging.errors import PixelError
from workers.ops import pipeline


def _plain(width: int, height: int, bands: int) -> Image.Image:
    """A wall with a block on it, so that bgremove finds something."""
    image = Image.new("RGB", (width, height), (225, 226, 228))
    image.paste((90, 40, 40), (width // 3, height // 3, max(1, 2 * width // 3), max(1, 2 * height // 3)))
    return image if bands == 3 else image.convert("RGBA")


pictures = st.builds(
    lambda make, width, height, bands: make(width, height, bands=bands),
    st.sampled_from([noise, _plain]),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([3, 4]),
)


STROKES = Strokes.model_validate(
    {
        "kind": "strokes",
        "strokes": [
            {"mode": "keep", "width": 0.2, "points": [[0.5, 0.5], [0.9, 0.4]]},
            {"mode": "erase", "width": 0.05, "points": [[0.0, 1.0]]},
        ],
    }
)


@settings(max_examples=examples(150), deadline=None)
@given(chains(), pictures)
def test_any_chain_on_any_picture(steps: list[list[str]], image: Image.Image) -> None:
    chain = parse("+".join(":".join(parts) for parts in steps))
    for step in chain.steps:  # a canvas of 40 megapixels is legal, and slow
        if isinstance(step.params, Resize):
            assume(max(step.params.width or 1, step.params.height or 1) <= 600)
        if isinstance(step.params, UpscaleV2):  # so is a model on more than a few pixels
            assume(step.params.model == "small" and planned_side(chain, *image.size) <= 400)
    before = image.tobytes()
    try:
        result = pipeline.run(chain, image, inputs=dict.fromkeys(chain.inputs, STROKES))[0]
    except PixelError as error:
        result = None
        refusal = error
    assert image.tobytes() == before, "an op must not change its input"
    if result is None:
        assert (refusal.code, refusal.retryable) == ("op_failed", False)
        assert len(refusal.detail) > 20
    else:
        assert result.mode in {"RGB", "RGBA"}
        assert np.asarray(result).shape[:2] == (result.height, result.width)


@pytest.mark.parametrize("size", [(16, 900), (900, 16), (17, 16)])
def test_bgremove_on_narrow_pictures(size: tuple[int, int]) -> None:
    result = pipeline.run(parse("bgremove-v1"), _plain(*size, bands=3))[0]
    assert result.mode == "RGBA"
    assert result.size == size

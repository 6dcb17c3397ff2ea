"""What a chain will be worked on or brought to, before anybody has worked on it."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ops.models import MAX_OUTPUT_SIDE, Resize
from service.ops.registry import parse
from service.ops.size import planned_side, refusal
from workers.ops import resize

SIDES = st.integers(1, 6000)


@pytest.mark.parametrize(
    ("op_key", "size", "working_side", "side"),
    [
        ("bgremove-v1", (4000, 3000), None, 4000),
        ("bgremove-v1", (4000, 3000), 2048, 2048),
        ("bgremove-v1+shadow-v1", (2000, 3000), 2048, 2048),  # whatever margin the shadow adds
        ("resize-v1:width-800", (4000, 3000), None, 800),
        ("resize-v1:width-800", (400, 300), None, 400),
        ("resize-v1:upscale-true:width-800", (400, 1200), None, 2400),
        ("resize-v1:fit-contain:height-3000:width-100", (400, 300), None, 3000),
        ("crop-v1:height-300:width-400", (4000, 3000), None, 400),
        ("crop-v1:aspect-1x1", (4000, 3000), None, 4000),
        ("upscale-v1:factor-4", (1500, 1000), None, 6000),
        ("upscale-v1:factor-4", (4000, 3000), None, MAX_OUTPUT_SIDE),
        ("upscale-v1:factor-2", (4000, 3000), 2048, 4096),
        ("upscale-v2:factor-3", (1000, 600), None, 3000),
        ("resize-v1:width-500+upscale-v1:factor-3", (4000, 2000), None, 1500),
        ("convert-v1:format-png", (2048, 2048), 2048, 2048),
    ],
)
def test_the_side_that_is_planned(
    op_key: str, size: tuple[int, int], working_side: int | None, side: int
) -> None:
    assert planned_side(parse(op_key), *size, working_side) == side


@given(
    size=st.tuples(SIDES, SIDES),
    box=st.tuples(SIDES, SIDES),
    fit=st.sampled_from(["inside", "contain", "cover", "fill"]),
    upscale=st.booleans(),
)
def test_no_resize_comes_out_larger(
    size: tuple[int, int],
    box: tuple[int, int],
    fit: Literal["inside", "contain", "cover", "fill"],
    upscale: bool,
) -> None:
    """As the worker itself plans it; rounding to whole pixels may add one."""
    params = Resize(width=box[0], height=box[1], fit=fit, upscale=upscale)
    key = f"resize-v1:fit-{fit}:height-{box[1]}:upscale-{str(upscale).lower()}:width-{box[0]}"
    assert max(resize.plan(size, params).canvas) <= planned_side(parse(key), *size) + 1


LARGE = "upscale-v2:model-large"


@pytest.mark.parametrize(
    ("op_key", "size", "working_side", "refused"),
    [
        (LARGE, (512, 512), None, None),
        (LARGE, (513, 512), None, "513 × 512"),
        (LARGE, (4000, 1000), 512, None),
        (LARGE, (4000, 3000), 1024, "1024 × 768"),
        (f"resize-v1:width-400+{LARGE}", (4000, 3000), None, None),
        (f"enhance-v1+upscale-v2:factor-4+{LARGE}", (200, 200), None, "800 × 800"),
        (f"crop-v1:aspect-1x1+{LARGE}", (4000, 300), None, None),  # only the pixels tell
        ("upscale-v2", (4000, 3000), None, None),
    ],
)
def test_what_is_known_to_be_too_large_is_refused_before_the_work(
    op_key: str, size: tuple[int, int], working_side: int | None, refused: str | None
) -> None:
    reason = refusal(parse(op_key), *size, working_side)
    assert (reason is None) == (refused is None)
    assert refused is None or refused in str(reason)

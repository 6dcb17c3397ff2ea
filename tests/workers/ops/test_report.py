"""What a step says of its result goes with the picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.ops import models
from service.ops.outputs import StepReport
from workers.imaging.types import Claim, PixelTask
from workers.ops import pipeline
from workers.ops.pixels import Reported


def _reported(image: Image.Image, _params: Any) -> Reported:
    return Reported(image, "tried", 0.25, ("The picture is dim.",))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[StepReport, ...]]:
    ops: dict[type[models.Parameters], Any] = {**pipeline.APPLY, models.Enhance: _reported}
    monkeypatch.setattr(pipeline, "APPLY", ops)
    source = tmp_path / "source"
    Image.new("RGB", (40, 30), "teal").save(source, "PNG")

    def run(op_key: str) -> tuple[StepReport, ...]:
        return pipeline.process(PixelTask(source, tmp_path, op_key, Claim(40, 30))).report

    return run


def test_reports_stand_in_the_order_of_the_chain(process: Callable[[str], tuple[StepReport, ...]]) -> None:
    said = StepReport("enhance-v1", "tried", 0.25, ("The picture is dim.",))
    assert process("enhance-v1+resize-v1:width-20") == (said,)
    assert process("enhance-v1+crop-v1:aspect-1x1+enhance-v1:sharpen-90") == (said, said)


def test_a_step_may_say_nothing(process: Callable[[str], tuple[StepReport, ...]]) -> None:
    assert process("resize-v1:width-20") == ()

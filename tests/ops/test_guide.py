"""docs/ops.md names every op, every parameter and every default."""

import re
from pathlib import Path

import pytest

from service.ops.catalogue import OPS, Op
from service.ops.registry import OpKeyError, parse

GUIDE = Path(__file__).parents[2] / "docs" / "ops.md"


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.key)
def test_section_lists_the_parameters(op: Op) -> None:
    section = re.search(rf"^## {op.key}$(.*?)(?=^## |\Z)", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"no section for {op.key}"
    rows = [row for row in section[1].splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z]+)`", row.split("|")[1])}
    assert named == set(op.parameters.model_fields)
    for picture in re.findall(r"\]\((images/[^)]+)\)", section[1]):
        assert (GUIDE.parent / picture).is_file()


def test_the_table_of_contents_has_every_op() -> None:
    assert [op.key for op in OPS if f"](#{op.key})" not in GUIDE.read_text().partition("\n## ")[0]] == []


def test_keys_in_the_guide_can_be_run() -> None:
    keys = re.findall(r"`((?:[a-z]+-v[0-9]+(?::[a-z]+-[^`\s:+]+)*\+?)+)`", GUIDE.read_text())
    assert len(keys) > 15
    for key in keys:
        try:
            parse(key)
        except OpKeyError as error:
            # Mentioned by name only: these need a parameter.
            assert key in {"resize-v1", "crop-v1", "watermark-v1"}, error  # noqa: PT017

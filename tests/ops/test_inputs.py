"""Input documents: one canonical form, limits that are told."""

import pytest
from pydantic import ValidationError

from service.ops.inputs import MAX_POINTS, MAX_STROKES, Strokes, digest
from service.ops.registry import parse

DOT = {"mode": "keep", "width": 0.02, "points": [[0.5, 0.5]]}


def strokes(*drawn: object) -> Strokes:
    return Strokes.model_validate({"kind": "strokes", "strokes": drawn})


@pytest.mark.parametrize(
    "same",
    [
        {"points": [[0.5, 0.5]], "width": 0.02, "mode": "keep"},
        DOT | {"points": [[0.50001, 0.49999]]},
        DOT | {"points": [[0.5, 0.5], [0.5, 0.5], [0.50004, 0.5]]},
        DOT | {"width": 0.020004},
    ],
)
def test_strokes_that_cover_the_same_have_one_digest(same: object) -> None:
    assert digest(strokes(same)) == digest(strokes(DOT))


def test_zero_has_no_sign() -> None:
    corner, same = (DOT | {"points": [[0.0, zero]]} for zero in (0.0, -0.0))
    assert digest(strokes(corner)) == digest(strokes(same))


def test_strokes_that_differ_have_another() -> None:
    others = [DOT | {"mode": "erase"}, DOT | {"width": 0.03}, DOT | {"points": [[0.5, 0.6]]}]
    digests = {digest(strokes(other)) for other in (DOT, *others)}
    digests |= {digest(strokes(DOT, others[0])), digest(strokes(others[0], DOT))}
    assert len(digests) == 6


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [DOT] * (MAX_STROKES + 1),
        [DOT | {"points": []}],
        [DOT | {"points": [[0.1, 0.1], [0.2, 0.2]] * (MAX_POINTS // 4)}] * 3,
        [DOT | {"points": [[1.01, 0.5]]}],
        [DOT | {"points": [[float("nan"), 0.5]]}],
        [DOT | {"points": [[0.5]]}],
        [DOT | {"points": [[True, 0.5]]}],
        [DOT | {"points": [["0.5", 0.5]]}],
        [DOT | {"width": 0}],
        [DOT | {"width": True}],
        [DOT | {"width": "0.02"}],
        [DOT | {"mode": "restore"}],
        [DOT | {"colour": "red"}],
    ],
)
def test_what_is_no_strokes_is_refused(wrong: list[object]) -> None:
    with pytest.raises(ValidationError):
        strokes(*wrong)


def test_a_wrong_point_is_the_only_fault_that_is_told() -> None:
    with pytest.raises(ValidationError) as refused:
        strokes(DOT | {"points": [[1.01, 0.5]]})
    assert [fault["loc"] for fault in refused.value.errors()] == [("strokes", 0, "points", 0, 0)]


def test_whole_numbers_are_places_too() -> None:
    assert strokes(DOT | {"points": [[0, 1]]}).strokes[0].points == [(0, 1)]


def test_a_chain_names_each_of_its_documents_once() -> None:
    name = digest(strokes(DOT))
    chain = parse(f"bgremove-v2:strokes-{name}+resize-v1:width-80+bgremove-v2:strokes-{name}:trim-true")
    assert chain.inputs == (name,)
    assert parse("bgremove-v2+resize-v1:width-80").inputs == ()


def test_a_step_with_strokes_is_not_taken_for_a_repetition() -> None:
    """The second time they lie on what was trimmed."""
    step = f"bgremove-v2:strokes-{digest(strokes(DOT))}:trim-true"
    assert len(parse(f"{step}+{step}").steps) == 2
    assert len(parse("bgremove-v2+bgremove-v2").steps) == 1

"""Valid op_keys of every op, drawn from the parameter models themselves, in every spelling the grammar allows."""

import types
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from service.ops.catalogue import OPS, Op
from service.ops.models import Compress, Convert
from service.ops.values import COLOURS, Escaped, decode, escape, is_reference

TEXT_ALPHABET = "abzAZ019 .-_+:#/%&'\"~©«°±´·»‘’“”…‹›⁄™"


def texts() -> st.SearchStrategy[str]:
    """Escaped watermark texts."""
    return st.text(TEXT_ALPHABET, min_size=1, max_size=12).filter(lambda text: text.strip() != "").map(escape)


def colours() -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(sorted(COLOURS)),
        st.from_regex(r"\A#?[0-9a-f]{3}\Z"),
        st.from_regex(r"\A#?[0-9a-f]{6}\Z"),
    )


def _bounds(field: FieldInfo) -> tuple[float, float]:
    low = next(float(str(entry.ge)) for entry in field.metadata if isinstance(entry, Ge))
    high = next(float(str(entry.le)) for entry in field.metadata if isinstance(entry, Le))
    return low, high


def _spelt(number: float, zeros: int, point: bool) -> str:
    """A number with leading zeros, and with a needless fraction when asked for."""
    sign, digits = ("-", -number) if number < 0 else ("", number)
    text = f"{digits:.1f}".removesuffix(".0")
    if point and "." not in text:
        text += ".0"
    return f"{sign}{'0' * zeros}{text}"


def _numbers(field: FieldInfo, step: float) -> st.SearchStrategy[str]:
    low, high = _bounds(field)
    whole = st.integers(round(low / step), round(high / step)).map(lambda count: count * step)
    return st.builds(_spelt, whole, st.integers(0, 2), st.booleans())


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, types.UnionType}:
        return next(member for member in get_args(annotation) if member is not type(None))
    return annotation


def values(name: str, field: FieldInfo) -> st.SearchStrategy[str]:
    """Spellings of valid values of one parameter."""
    if any(isinstance(entry, Escaped) for entry in field.metadata) or is_reference(field):
        return st.from_regex(r"\A[0-9a-f]{64}\Z") if is_reference(field) else texts()
    bare = _bare(field.annotation)
    if name == "quality":
        return st.just("auto") | st.integers(1, 100).map(str) | st.sampled_from(["085", "30.0"])
    if get_origin(bare) is Literal:
        return st.sampled_from([str(option) for option in get_args(bare)])
    if bare is bool:
        return st.sampled_from(["true", "false"])
    if bare in {int, float}:
        return _numbers(field, 1 if bare is int else 0.1)
    aspects = st.builds("{}x{}".format, st.integers(1, 100), st.integers(1, 100))
    return aspects if name == "aspect" else colours()


@st.composite
def spelt_steps(draw: st.DrawFn, op: Op) -> list[str]:
    """A valid step as ``[name-vN, param-value, …]`` in any order."""
    fields = op.parameters.model_fields
    optional = [name for name, field in fields.items() if not field.is_required()]
    required = [name for name, field in fields.items() if field.is_required()]
    names = draw(st.permutations(required + draw(st.lists(st.sampled_from(optional), unique=True))))
    parts = [f"{name}-{draw(values(name, fields[name]))}" for name in names]
    return [op.key, *parts]


def is_valid(op: Op, parts: list[str]) -> bool:
    """Whether the model takes the combination: some parameters exclude one another."""
    given = dict(part.split("-", 1) for part in parts[1:])
    try:
        op.parameters.model_validate(
            {name: decode(op.parameters.model_fields[name], value) for name, value in given.items()}
        )
    except ValidationError:
        return False
    return True


def valid_steps(last: bool = True) -> st.SearchStrategy[list[str]]:
    """A valid step of any op; only of those that may be followed by another unless ``last``."""
    ops = [op for op in OPS if last or op.parameters not in {Convert, Compress}]
    return st.sampled_from(ops).flatmap(lambda op: spelt_steps(op).filter(lambda parts: is_valid(op, parts)))


@st.composite
def chains(draw: st.DrawFn) -> list[list[str]]:
    """One to four valid steps, each a list of its parts, short enough for a key."""
    steps = [*draw(st.lists(valid_steps(last=False), max_size=3)), draw(valid_steps())]
    return steps if len("+".join(":".join(parts) for parts in steps)) <= 300 else steps[-1:]

"""The op registry: what Darkroom can do to a picture, and the grammar that names it.

    op_key = step ("+" step)*                           at most 512 characters and 8 steps
    step   = name "-v" version (":" param "-" value)*
    name, param = [a-z]+    version = [1-9][0-9]*    value = [a-z0-9._#-]+

The first hyphen of ``param-value`` ends the name; the rest is the value (see :mod:`service.ops.values`).
``parse`` gives a :class:`Chain` whose ``key`` is canonical: the parameters of a step sorted by name, defaults
dropped, values in their one spelling, and steps that change nothing or may be reordered put into one form
(:func:`service.ops.chain.canonical_steps`).
Pure: no I/O, nothing of ours imported but this package.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import ValidationError

from service.ops.catalogue import OPS, Op
from service.ops.chain import Chain, Step, canonical_steps, check_order
from service.ops.errors import OpKeyError
from service.ops.values import decode

if TYPE_CHECKING:
    from service.ops.models import Parameters

MAX_KEY_LENGTH = 512
MAX_STEPS = 8

_STEP = re.compile(r"([a-z]+)-v([1-9][0-9]{0,3})((?::[^:]*)*)", re.ASCII)
_PARAMETER = re.compile(r"([a-z]+)-([a-z0-9._#-]+)", re.ASCII)
_FOREIGN = re.compile(r"[^a-z0-9._:+#-]", re.ASCII)
_BY_KEY = {op.key: op for op in OPS}

__all__ = ["MAX_KEY_LENGTH", "MAX_STEPS", "Chain", "Op", "OpKeyError", "Step", "catalogue", "parse"]


def catalogue() -> list[Op]:
    """Every op there is, in the order of the documentation."""
    return list(OPS)


@lru_cache(maxsize=4096)
def parse(op_key: str) -> Chain:
    """Read an op_key. Raises OpKeyError, and nothing else, when it cannot be run."""
    if not op_key:
        raise OpKeyError("bad_op_key", "the op_key is empty; write one such as resize-v1:width-800")
    if len(op_key) > MAX_KEY_LENGTH:
        raise OpKeyError(
            "bad_op_key", f"the op_key has {len(op_key)} characters; at most {MAX_KEY_LENGTH} are allowed"
        )
    if foreign := _FOREIGN.search(op_key):
        raise OpKeyError(
            "bad_op_key",
            f"character {foreign[0]!r} at {foreign.start()} is not allowed; use a-z 0-9 . _ - : + #",
        )
    texts = op_key.split("+")
    if len(texts) > MAX_STEPS:
        raise OpKeyError("bad_op_key", f"the chain has {len(texts)} steps; at most {MAX_STEPS} are allowed")
    steps = tuple(_parse_step(text, index) for index, text in enumerate(texts))
    check_order(steps)
    chain = Chain(canonical_steps(steps))
    if len(chain.key) > MAX_KEY_LENGTH:
        raise OpKeyError("bad_op_key", f"the canonical op_key is longer than {MAX_KEY_LENGTH} characters")
    return chain


def _parse_step(text: str, index: int) -> Step:
    match = _STEP.fullmatch(text)
    if match is None:
        raise OpKeyError(
            "bad_op_key",
            f"step {index + 1} is {text!r}; a step is name-v1 or name-v1:param-value:…",
            step=index,
        )
    op = _find_op(f"{match[1]}-v{match[2]}", index)
    values: dict[str, object] = {}
    for part in match[3].split(":")[1:]:
        name, value = _parse_parameter(op, part, index)
        if name in values:
            raise _bad(op, index, name, f"parameter '{name}' of {op.key} is given twice")
        values[name] = value
    return Step(op, _validate(op, values, index))


def _find_op(key: str, index: int) -> Op:
    op = _BY_KEY.get(key)
    if op is not None:
        return op
    name, _, _ = key.partition("-")
    versions = [other.key for other in OPS if other.name == name]
    known = ", ".join(versions or _BY_KEY)
    raise OpKeyError("unknown_op", f"there is no op {key}; there is {known}", step=index)


def _parse_parameter(op: Op, part: str, index: int) -> tuple[str, object]:
    match = _PARAMETER.fullmatch(part)
    if match is None:
        raise OpKeyError(
            "bad_op_key", f"{part!r} in {op.key} is not param-value, such as {_example_of(op)}", step=index
        )
    name, value = match[1], match[2]
    field = op.parameters.model_fields.get(name)
    if field is None:
        raise _bad(
            op,
            index,
            name,
            f"unknown parameter '{name}' for {op.key}; it takes {', '.join(op.parameters.model_fields)}",
        )
    try:
        return name, decode(field, value)
    except ValueError as error:
        raise _bad(op, index, name, f"{name} of {op.key}: {error}") from None


def _validate(op: Op, values: dict[str, object], index: int) -> "Parameters":
    try:
        return op.parameters.model_validate(values).canonical()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        reason = first["msg"].removeprefix("Value error, ")
        where = f"{name} of {op.key}" if name else op.key
        raise _bad(op, index, name, f"{where}: {reason[:1].lower()}{reason[1:]}") from None


def _bad(op: Op, index: int, parameter: str | None, detail: str) -> OpKeyError:
    return OpKeyError("bad_parameter", detail, step=index, parameter=parameter)


def _example_of(op: Op) -> str:
    """A parameter of the op as it is written in its own examples."""
    return next(part for key in op.examples for part in key.split(":")[1:])

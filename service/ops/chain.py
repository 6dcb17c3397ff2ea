"""A chain of steps: what it is, which orders make sense, and the one form that equal chains take."""

from dataclasses import dataclass
from functools import cached_property

from service.ops import framing, models, scenery
from service.ops.catalogue import Cacheable, Op
from service.ops.errors import OpKeyError
from service.ops.values import encode

_STRICTNESS: tuple[Cacheable, ...] = ("always", "by_seed", "never")

# Ops that may run before the background is laid: the result is the same, or what anyone asking for it means.
_BEFORE_FLATTEN = (
    models.Shadow,
    models.Resize,
    models.Crop,
    models.Enhance,
    models.Upscale,
    models.UpscaleV2,
    models.Watermark,
    framing.Smartcrop,
    framing.Trim,
    scenery.FloorShadow,
)
# Ops that cut out what is not, as bgremove-v2 would.
_CUT_THEMSELVES = (models.Compose, scenery.Scene)
_OUTPUTS = (models.Convert, models.Compress)


@dataclass(frozen=True)
class Step:
    """One op with its validated, canonical parameters."""

    op: Op
    params: models.Parameters

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of its input documents, by parameter."""
        values = {name: getattr(self.params, name) for name in self.params.references()}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def key(self) -> str:
        """Canonical text: ``resize-v1:height-600:width-800``."""
        parts = [self.op.key]
        for name, field in sorted(type(self.params).model_fields.items()):
            value = getattr(self.params, name)
            if field.is_required() or value != field.default:
                parts.append(f"{name}-{encode(field, value)}")
        return ":".join(parts)


@dataclass(frozen=True)
class Chain:
    """The steps of an op_key, in the order in which they run."""

    steps: tuple[Step, ...]

    @cached_property
    def key(self) -> str:
        """The canonical op_key."""
        return "+".join(step.key for step in self.steps)

    @property
    def price(self) -> int:
        """Credits."""
        return sum(step.op.price * step.params.price_factor for step in self.steps)

    @property
    def hit_price(self) -> int:
        """Credits for an answer from the cache."""
        return sum(step.op.hit_price for step in self.steps)

    @property
    def cacheable(self) -> Cacheable:
        """That of the least cacheable step."""
        return max((step.op.cacheable for step in self.steps), key=_STRICTNESS.index)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that its steps run on, each once."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.op.models))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Digests of the input documents that its steps take, each once."""
        return tuple(dict.fromkeys(digest for step in self.steps for digest in step.inputs.values()))

    @property
    def uses_models(self) -> bool:
        """Whether any step runs on a model or has its result checked by one."""
        return any(step.op.models or step.op.checked_by for step in self.steps)


def check_order(steps: tuple[Step, ...]) -> None:
    """Raise OpKeyError unless convert or compress, which only say how to write the file, comes last."""
    for index, step in enumerate(steps[:-1]):
        if isinstance(step.params, _OUTPUTS):
            raise OpKeyError(
                "bad_op_key",
                f"{step.op.key} says how the file is written, so it must be the last step",
                step=index,
            )


def canonical_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Chains that give the same pixels -> the same steps.

    1. ``flatten`` moves behind the ops that can work on the cut-out, so that a shadow written after it falls
       from the subject on to the colour, and not from a rectangle. A second ``flatten`` finds nothing
       transparent and goes.
    2. A step equal to the one before it goes when it changes nothing the second time. Strokes on what was trimmed
       would lie elsewhere.
    3. ``bgremove-v2`` with default settings right before ``compose`` goes: compose does just that to a
       picture without transparency, and bgremove does nothing to one with it.
    4. A last ``convert`` without settings goes: it is how every chain ends. So does ``flatten`` with white
       right before JPEG.
    """
    ordered = _sink_flatten(steps)
    kept: list[Step] = []
    for step in ordered:
        if kept and step == kept[-1] and step.op.idempotent and not step.inputs:
            continue
        if kept and isinstance(step.params, _CUT_THEMSELVES) and kept[-1].params == models.BgremoveV2():
            kept.pop()
        kept.append(step)
    return _trim_end(kept)


def _sink_flatten(steps: tuple[Step, ...]) -> list[Step]:
    result: list[Step] = []
    pending: Step | None = None
    for step in steps:
        if isinstance(step.params, models.Flatten):
            pending = pending or step
        else:
            if pending is not None and not isinstance(step.params, _BEFORE_FLATTEN):
                result.append(pending)
                pending = None
            result.append(step)
    if pending is not None:
        result.append(pending)
    return result


def _trim_end(steps: list[Step]) -> tuple[Step, ...]:
    if len(steps) > 1 and steps[-1].params == models.Convert():
        steps = steps[:-1]
    if (
        len(steps) > 1
        and steps[-2].params == models.Flatten()
        and getattr(steps[-1].params, "format", "") == "jpeg"
    ):
        steps = [*steps[:-2], steps[-1]]
    return tuple(steps)

"""The opened models of this process: the fork server's, which its children inherit."""

from __future__ import annotations

from collections.abc import Iterable

from service.ops.weights import Installed, Runtime
from workers.models.port import Model
from workers.pixel_errors import PixelError

_OPEN: dict[str, Model] = {}


def load(weights: Iterable[Installed]) -> None:
    """Open each model that is not open yet."""
    for one in weights:
        if one.name not in _OPEN:
            _OPEN[one.name] = _open(one.runtime, one)


def release() -> None:
    """Close all models of this process."""
    _OPEN.clear()


def is_open(name: str) -> bool:
    """Whether this process has the model."""
    return name in _OPEN


def model(name: str) -> Model:
    """The opened model. Raises PixelError (op_unavailable, retryable: another worker may have it)."""
    try:
        return _OPEN[name]
    except KeyError:
        raise PixelError(
            "op_unavailable", f"The worker has no weights of the model {name}.", retryable=True
        ) from None


def _open(runtime: Runtime, weights: Installed) -> Model:
    if runtime == "onnxruntime":
        from workers.models.onnx import OnnxModel

        return OnnxModel(weights.files)
    from workers.models.ncnn import NcnnModel

    return NcnnModel(weights.files)

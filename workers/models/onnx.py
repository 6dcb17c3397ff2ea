"""ONNX models by onnxruntime, on the processor."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from workers.models.port import Array


class OnnxModel:
    """One thread: a session without threads survives a fork, and sums in one order, so that equal pictures give equal
    bytes. No arena: what a run has taken is given back, and is little after the first run of many."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        options.enable_mem_pattern = False  # plans that only an arena can use
        # By its path: a session keeps the bytes that it is given.
        self._session = onnxruntime.InferenceSession(
            str(files[0]), options, providers=["CPUExecutionProvider"]
        )
        first = self._session.get_inputs()[0]
        self._input, self._output = first.name, self._session.get_outputs()[0].name
        spatial = [
            size for size in first.shape[1:] if isinstance(size, int) and size > 4
        ]  # 1, 3, 4: channels
        self.side: int | None = spatial[0] if spatial else None

    def run(self, array: Array) -> Array:
        """array: as the model takes it, with a batch of one. Raises MemoryError."""
        try:
            answer: Array = self._session.run([self._output], {self._input: array})[0]
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)[:200]) from None
            raise
        return answer

"""ncnn models on the processor, without Vulkan."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np

from workers.models.port import Array


class NcnnModel:
    """files: `.param` and `.bin`. Opened at the first run: ncnn spreads large weights out in memory, which only the
    child that needs them shall pay for."""

    side: int | None = None

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._param, self._weights = files
        self._net: ncnn.Net | None = None

    def run(self, array: Array) -> Array:
        """array: (channels, height, width). Raises MemoryError."""
        net = self._net or self._opened()
        extractor = net.create_extractor()
        # A Mat borrows the array's memory: the name keeps it until the extractor is done.
        source = np.ascontiguousarray(array, np.float32)
        extractor.input(net.input_names()[0], ncnn.Mat(source))
        status, answer = extractor.extract(net.output_names()[0])
        if status != 0:
            raise MemoryError(f"ncnn answered {status}")
        return np.array(answer)

    def _opened(self) -> ncnn.Net:
        net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_vulkan_compute = False
        # Half precision moves values by several levels, and not every processor has it.
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
        if net.load_param(str(self._param)) != 0 or net.load_model(str(self._weights)) != 0:
            raise MemoryError(f"ncnn cannot open {self._weights.name}")
        self._net = net
        return net

"""The quickest engine of a machine."""

from collections.abc import Sequence

import torch

from .base import Compile, Eager, Engine, Engines
from .onnx import Onnx
from .openvino import OpenVino
from .precision import Precision


class Quickest(Engines):
    """Of all engines that work here, the one that a short trial finds quickest. To compile on a CPU takes longer than
    most jobs there, so it is tried on a GPU alone."""

    def here(self, device: torch.device, precision: Precision) -> Sequence[Engine]:
        tried: list[Engine] = [Eager(), Compile()] if device.type == "cuda" else [Eager(), Onnx(), OpenVino()]
        return [engine for engine in tried if not engine.obstacle(device, precision)]

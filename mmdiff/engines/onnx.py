"""ONNX Runtime on a CPU: the whole graph, its operations joined."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .base import Engine
from .files import needs_onnx
from .precision import Float32, Precision
from .served import Served, Session


class Onnx(Engine):
    """``onnxruntime``, in float32, with as many threads as PyTorch has."""

    def __call__(self, network: nn.Module, precision: Precision, *, key: str) -> nn.Module:
        return Served(network, _session, key=key)

    def obstacle(self, device: torch.device, precision: Precision) -> str:
        try:
            import onnxruntime  # noqa: F401
        except ImportError:
            return 'it needs onnxruntime: pip install "mmdiff[onnx]"'
        if missing := needs_onnx():
            return f'{missing}: pip install "mmdiff[onnx]"'
        if device.type != "cpu":
            return f"it computes on the CPU, and the model is on {device}: take device=cpu, or engine=compile"
        return "" if isinstance(precision, Float32) else f"it computes in fp32, not {precision.name}: take engine=eager"

    @property
    def runtime(self) -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"


def _session(file: bytes) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    read = {one.name for one in session.get_inputs()}

    def run(inputs: Mapping[str, Any]) -> Any:
        return session.run(None, {name: value for name, value in inputs.items() if name in read})[0]

    return run

"""OpenVINO on a CPU: the graph compiled for the processor, in float32 or, where it has the instructions, bfloat16."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from .base import Engine
from .files import needs_onnx
from .precision import Float32, Precision
from .served import TOLERANCE, Served, Session

ROUGH = 0.25
"""What bfloat16 may change of an output's norm through all layers, those outside of blocks too: no check of rounding,
but of mistakes."""


class OpenVino(Engine):
    """``openvino``, with as many threads as PyTorch has."""

    def __call__(self, network: nn.Module, precision: Precision, *, key: str) -> nn.Module:
        full = isinstance(precision, Float32)
        start = partial(_session, precision="f32" if full else "bf16")
        return Served(network, start, key=key, tolerance=TOLERANCE if full else ROUGH)

    def obstacle(self, device: torch.device, precision: Precision) -> str:
        try:
            import openvino
        except ImportError:
            return 'it needs openvino: pip install "mmdiff[openvino]"'
        if missing := needs_onnx():
            return f'{missing}: pip install "mmdiff[openvino]"'
        if device.type != "cpu":
            return f"it computes on the CPU, and the model is on {device}: take device=cpu, or engine=compile"
        if precision.name == "bf16":
            has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            return "" if "BF16" in has else "this processor has no bfloat16: take precision=fp32"
        return "" if isinstance(precision, Float32) else f"it computes in fp32 or bf16, not {precision.name}"

    @property
    def runtime(self) -> str:
        import openvino

        return f"openvino {openvino.__version__.partition('-')[0]}"


def _session(file: bytes, *, precision: str) -> Session:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    try:
        compiled = core.compile_model(core.read_model(file), "CPU", settings)
    except RuntimeError as error:
        reason = next((line for line in str(error).splitlines() if "supported" in line), str(error).splitlines()[0])
        raise ValueError(f"engine=openvino cannot compute this network: {reason}; take engine=onnx") from None
    read = {name for one in compiled.inputs for name in one.names}

    def run(inputs: Mapping[str, Any]) -> Any:
        return compiled({name: value for name, value in inputs.items() if name in read})[0].copy()

    return run

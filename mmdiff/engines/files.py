"""A network in a file that other programs run: every tensor that it is told by name, batch and sizes as they come.

    inputs   x (B, C, *S), level (B,) or (B, T), and of vector, tokens, tokens_mask, concat, mask those that are told
    output   out (B, C, *S)

What is told is part of a file: a network without a mask is another file than one with. Sizes are traced as unknowns.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from ..core.types import Condition
from ..nn.inputs import CondLike

BATCH, LEAST = 2, 16
"""Of what a network is traced with: as many samples, and no axis of fewer positions, as 1 is a size of its own."""
FILE_BYTES = 2**31 - 1
"""What a file of ONNX can hold."""


def named(x: Tensor, level: Tensor, cond: CondLike | None, mask: Tensor | None) -> dict[str, Tensor]:
    """What a network is told, by name, and nothing of what it is not."""
    inputs = {"x": x, "level": level, **{name: getattr(cond, name, None) for name in Condition._fields}, "mask": mask}
    return {name: value for name, value in inputs.items() if value is not None}


class _ByName(nn.Module):
    """A network whose arguments are the tensors of ``names``, in that order."""

    def __init__(self, network: nn.Module, names: list[str]):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: Tensor) -> Tensor:
        by_name: dict[str, Any] = dict(zip(self.names, tensors, strict=True))
        x, level, mask = by_name.pop("x"), by_name.pop("level"), by_name.pop("mask", None)
        return self.network(x, level, Condition(**by_name), mask)


@torch.no_grad()
def traced(network: nn.Module, inputs: Mapping[str, Tensor]) -> ExportedProgram:
    """The operations of a network that is told tensors such as ``inputs``, at any batch and size.

    Raises ``ValueError`` naming the reason where a network cannot be traced so.
    """
    example = {name: _example(name, value) for name, value in inputs.items()}
    shapes = {name: {i: Dim.AUTO for i in range(value.ndim) if _varies(name, i)} for name, value in example.items()}
    module = _ByName(copy.deepcopy(network).cpu(), list(inputs)).eval()
    try:
        return export(module, tuple(example.values()), dynamic_shapes=(tuple(shapes.values()),), strict=False)
    except Exception as error:                                        # of many classes, by what a network does
        raise ValueError(f"{type(network).__name__} cannot be traced: {_first(error)}") from error


def onnx_bytes(network: nn.Module, inputs: Mapping[str, Tensor], **metadata: str) -> bytes:
    """A file of ONNX, its operations joined where that is exact. Raises ``ValueError`` naming the reason where ONNX has
    no operation for one of the network's."""
    import onnx

    try:
        program: Any = torch.onnx.export(
            traced(network, inputs), input_names=list(inputs), output_names=["out"], verbose=False, optimize=True
        )
    except torch.onnx.OnnxExporterError as error:
        reason = _first(error.__cause__ or error)
        raise ValueError(f"{type(network).__name__} cannot be written as ONNX: {reason}") from error
    model = program.model_proto
    if (size := model.ByteSize()) > FILE_BYTES:
        raise ValueError(f"a file of ONNX holds 2 GiB, and this network is {size / 2**30:.1f}: take engine=compile")
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


def needs_onnx() -> str:
    """What is missing to write ONNX, or nothing."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        return f"it needs {error.name}"
    return ""


def _varies(name: str, axis: int) -> bool:
    return axis != 1 or name in {"level", "tokens", "tokens_mask"}


def _example(name: str, value: Tensor) -> Tensor:
    shape = [BATCH, *value.shape[1:]]
    for axis in range(1, value.ndim):
        if _varies(name, axis) and not (name == "tokens" and axis == 2):
            shape[axis] = value.shape[axis] if value.shape[axis] >= LEAST else LEAST + value.shape[axis]
    return torch.ones(shape, dtype=value.dtype)


def _first(error: BaseException) -> str:
    """The class of an error and its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:300]

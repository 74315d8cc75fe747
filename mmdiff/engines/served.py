"""A network computed by a program beside PyTorch, from a file that is written once for each kind of call.

Each new shape is computed by both, and must agree:  |out - eager| <= TOLERANCE max(|eager|, sqrt(numbers)),  in norms.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import __version__
from ..data.cached import cache_folder, keep, one_at_a_time
from ..nn.inputs import CondLike
from ..nn.network import Network
from .files import named, onnx_bytes

TOLERANCE = 1e-4
"""Of the output's norm: rounding of float32 through a deep network, and far less than any mistake would make."""
Session = Callable[[Mapping[str, Any]], Any]
"""Arrays by name -> the output."""


class Served(nn.Module):
    """``network`` as ``start`` computes it: bytes of a file -> session. ``key`` names the weights."""

    def __init__(
        self, network: nn.Module, start: Callable[[bytes], Session], *, key: str, tolerance: float = TOLERANCE
    ):
        super().__init__()
        self.network, self.start, self.key, self.tolerance = network, start, key, tolerance
        self.sessions: dict[tuple, Session] = {}
        self.seen: set[tuple] = set()

    @torch.no_grad()
    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs = named(x, level, cond, mask)
        kind = tuple((name, value.ndim) for name, value in inputs.items())
        shape = tuple((name, value.shape) for name, value in inputs.items())
        expected = None if shape in self.seen else self.network(x, level, cond, mask)     # says what does not fit, too
        if kind not in self.sessions:
            self.sessions[kind] = self.start(onnx_file(self.network, inputs, key=self.key))
        out = torch.from_numpy(self.sessions[kind]({name: value.numpy() for name, value in inputs.items()}))
        if expected is not None:
            self._compare(out, expected)
            self.seen.add(shape)
        return out

    def check_shape(self, shape: Sequence[int]) -> None:
        """That of the network."""
        cast(Network, self.network).check_shape(shape)

    def _compare(self, out: Tensor, expected: Tensor) -> None:
        """Raise ``RuntimeError`` where what was computed is not what PyTorch gives."""
        size = max(expected.norm().item(), expected.numel() ** 0.5)
        if out.shape != expected.shape or not (error := (out - expected).norm().item() / size) <= self.tolerance:
            said = f"{error:.1e}" if out.shape == expected.shape else f"shape {tuple(out.shape)}"
            raise RuntimeError(
                f"an engine gives another output for {tuple(expected.shape)} than PyTorch ({said} where "
                f"{self.tolerance:g} is allowed): take engine=eager, and report it"
            )


def onnx_file(network: nn.Module, inputs: Mapping[str, Tensor], *, key: str) -> bytes:
    """The file of a network for calls such as ``inputs``: the one that is kept, or a new one."""
    kind = [(name, value.ndim) for name, value in inputs.items()]
    identity = [key, kind, type(network).__qualname__, __version__, torch.__version__]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = cache_folder() / "engines" / f"{name}.onnx"
    with one_at_a_time(path):
        if path.is_file():
            return path.read_bytes()
        print(f"writing the network for other engines: {path}")
        exported = onnx_bytes(network, inputs, model=key)
        keep(path, lambda file: file.write(exported))
    return exported

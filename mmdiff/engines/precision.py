"""The precision in which the blocks of a network work.

    bf16, fp16   weights in 16 bits, blocks under autocast
    int8         W = s q, see ``mmdiff.nn.rows``;  the products are those of floats
    int8, fp8    with activations: torchao's, each row of the input with a scale of its own; linear layers alone

What is outside of blocks (the embedding of the noise level, the first and the last layer) keeps its precision, and so
does all between network calls: those are few of the weights, and where rounding is seen first.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..nn.network import blocks
from ..nn.rows import layers, quantize

FP8 = (8, 9)
"""The least compute capability of a GPU that multiplies float8."""


class Precision(ABC):
    """A value, called with a network; gives one that is called alike, and leaves the first as it is."""

    name: str

    @abstractmethod
    def stored(self, network: nn.Module) -> nn.Module:
        """``network`` itself, its weights in the form of a file of this precision. Raises ``ValueError`` where there is
        no such file."""

    def computed(self, network: nn.Module) -> nn.Module:
        """``network`` itself, with stored weights, made ready to be called."""
        return network

    def __call__(self, network: nn.Module) -> nn.Module:
        return self.computed(self.stored(copy.deepcopy(network))).eval().requires_grad_(False)

    def obstacle(self, device: torch.device) -> str:
        """Why it does not work on a device, with the remedy; nothing where it does."""
        return ""


class Float32(Precision):
    """float32, as the model was trained."""

    name = "fp32"

    def stored(self, network: nn.Module) -> nn.Module:
        return network

    def __call__(self, network: nn.Module) -> nn.Module:
        return network


class Half(Precision):
    """16 bits: ``bfloat16``, which has the range of float32, or ``float16``, which has more digits."""

    def __init__(self, dtype: Literal["bfloat16", "float16"] = "bfloat16"):
        self.dtype = dtype
        self.name = {"bfloat16": "bf16", "float16": "fp16"}[dtype]

    def stored(self, network: nn.Module) -> nn.Module:
        for layer in layers(network):
            if not parametrize.is_parametrized(layer):
                layer.to(getattr(torch, self.dtype))
        return network

    def computed(self, network: nn.Module) -> nn.Module:
        for block in blocks(network):
            block.forward = _under(block.forward, next(network.parameters()).device.type, getattr(torch, self.dtype))
        return network


class Int8(Precision):
    """Weights in 8 bits, a quarter of the size; with ``activations`` linear layers multiply in 8 bits too, and
    convolutions in floats."""

    def __init__(self, activations: bool = False):
        self.activations = activations
        self.name = "int8 with activations" if activations else "int8"

    def stored(self, network: nn.Module) -> nn.Module:
        return quantize(network)

    def computed(self, network: nn.Module) -> nn.Module:
        if not self.activations:
            return network
        for layer in (part for part in layers(network) if isinstance(part, nn.Linear)):
            parametrize.remove_parametrizations(layer, "weight")      # torchao rounds them to the same whole numbers
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig

        return quantized(network, Int8DynamicActivationInt8WeightConfig())

    def obstacle(self, device: torch.device) -> str:
        return missing() if self.activations else ""


class Fp8(Precision):
    """float8 for the weights and the activations of linear layers, on a GPU that multiplies it."""

    name = "fp8"

    def stored(self, network: nn.Module) -> nn.Module:
        return network

    def computed(self, network: nn.Module) -> nn.Module:
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig

        return quantized(network, Float8DynamicActivationFloat8WeightConfig())

    def obstacle(self, device: torch.device) -> str:
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < FP8:
            name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"the device {device}"
            return f"{name} does not multiply float8, GPUs from compute capability 8.9 on do: take int8 or bf16"
        return missing()


def quantized(network: nn.Module, config: Any) -> nn.Module:
    """``network`` itself, the linear layers of its blocks as torchao has them."""
    from torchao.quantization import quantize_

    for block in blocks(network):
        quantize_(block, config)
    return network


def weight_bytes(network: nn.Module) -> int:
    """What the weights of a network take in memory."""
    return sum(map(_bytes, (*network.parameters(), *network.buffers())))


def _bytes(tensor: Any) -> int:
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.numel() * tensor.element_size()
    return sum(_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])    # of torchao, say


def missing() -> str:
    """Why torchao cannot be used, or nothing."""
    try:
        import torchao.quantization  # noqa: F401
    except ImportError:
        return 'it needs torchao: pip install "mmdiff[quantized]"'
    return ""


def _under(forward: Callable[..., Any], device: str, dtype: torch.dtype) -> Callable[..., Any]:
    """``forward`` under autocast, its output as the float32 that the layers between blocks take."""
    def run(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device, dtype):
            out = forward(*arguments, **named)
        return tuple(part.float() for part in out) if isinstance(out, tuple) else out.float()

    return run

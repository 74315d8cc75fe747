"""Weights in 8 bits, for networks whose own weights do not learn.

    W = s q,    q in -127 .. 127,    s = max |row of W| / 127,    a row an output

A linear layer through which a gradient goes computes W once more in the backward pass instead of keeping it, so that
memory holds q and s, whatever learns before, beside or after them (the layers of QLoRA, Dettmers et al. 2023).
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .network import blocks

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class WholeRows(nn.Module):
    """A weight ``(out, ...)`` as whole numbers and a scale for each row: the parametrization of a layer."""

    def forward(self, integers: Tensor, scale: Tensor) -> Tensor:
        return integers * scale

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        size = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True)
        scale = torch.where(size > 0, size / 127, 1)                  # rounded to 16 bits it may be a little less
        return (weight.float() / scale).round().clamp(-127, 127).to(torch.int8), scale


class _Product(torch.autograd.Function):
    """``W x + bias``, of which the backward pass knows q and s alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, integers: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(integers, scale)
        return F.linear(x, integers * scale, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (integers, scale) = gradients, ctx.saved_tensors
        return gradient @ (integers * scale).to(gradient.dtype), None, None, None


def layers(network: nn.Module) -> Iterator[nn.Module]:
    """The linear and convolutional layers within blocks. Raises ``ValueError`` where a network has no blocks."""
    units = list(blocks(network))
    if not units:
        raise ValueError(f"low precision works block by block, and {type(network).__name__} has no blocks: take fp32")
    for block in units:
        yield from (part for part in block.modules() if isinstance(part, LAYERS))


def in_rows(layer: nn.Module) -> bool:
    """Whether a layer's weight is in 8 bits."""
    return parametrize.is_parametrized(layer, "weight") and isinstance(_parts(layer)[0], WholeRows)


def quantize(network: nn.Module) -> nn.Module:
    """``network`` itself, the weights of its blocks in 8 bits; they do not learn."""
    for layer in layers(network):
        if not parametrize.is_parametrized(layer):
            parametrize.register_parametrization(layer.requires_grad_(False), "weight", WholeRows())
            if isinstance(layer, nn.Linear):
                setattr(type(layer), "forward", linear)               # noqa: B010 (of a class that is this layer's own)
    return network


def weight(layer: nn.Module) -> Tensor:
    """The weight of a layer in 8 bits, without what is added to it."""
    parts = _parts(layer)
    return parts[0](parts.original0, parts.original1)


def linear(self: nn.Linear, x: Tensor) -> Tensor:
    """The forward pass of a linear layer in 8 bits, without what is added to its weight."""
    if torch.is_grad_enabled() and x.requires_grad:
        parts = _parts(self)
        return _Product.apply(x, parts.original0, parts.original1, self.bias)
    return F.linear(x, weight(self), self.bias)


def _parts(layer: Any) -> Any:
    return layer.parametrizations.weight

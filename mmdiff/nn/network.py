"""What a network is: the one place where a modality computes.

    output = network(x, level, cond, mask),     level = (2/pi) atan2(sigma, alpha): 0 = data, 1 = noise
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from .inputs import CondLike
from .tensors import load_tensors

MAPS = "maps.weight"
"""The tensor ``(out, C' ...)`` by which a network with ``concat_channels`` reads maps: it has no bias, and begins as 0.
"""


def is_pretrained(network: nn.Module | type) -> bool:
    """Whether the weights of a network, or of all of a class, are those of a public model."""
    return bool(getattr(network, "pretrained", False))


class Network(nn.Module, ABC):
    """Base of all networks. The constructor's first two arguments, ``channels`` and ``cond_dim``, come from the codec
    and the conditioner; the output is zero at initialisation, where it is not ``pretrained``."""

    pads: bool = True
    """Whether it takes padding; else it refuses a mask."""

    ordered: bool = True
    """Whether it tells the positions of latents apart; else these are a set to it."""

    pretrained: bool = False
    """Whether its weights are those of a public model, see ``mmdiff.nn.frozen``: they are given, and changes learn."""

    puts_out: type | None = None
    """The parameterization that a pretrained network learned with."""

    public_parts: tuple[str, ...] = ()
    """Parts of a public model (``adapter.model``) that it works with."""

    inner: str = ""
    """The module within it that other programs call the network, where that is not all of it."""

    pipelines: tuple[str, ...] = ()
    """The classes of diffusers' pipelines whose folders it reads."""

    task: str = ""
    """What the hub calls that which a pretrained network does: ``text-to-video``."""

    @abstractmethod
    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        """``x`` ``(B, channels, *S)``, ``level`` ``(B,)`` or ``(B, T)``, ``mask`` ``(B, 1, *S)`` bool, True where real
        -> ``(B, channels, *S)``, zero outside the mask."""

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise ``ValueError`` where latents ``(*S)`` are not what it learns or generates; what is denoised to look for
        a mark may be larger."""

    @torch.no_grad()
    def inherit(self, base: nn.Module) -> None:
        """Start with the weights of ``base``, whose maps are the first of this one's; new ones add nothing yet.

        Raises ``ValueError`` where a tensor finds no place.
        """
        tensors = base.state_dict()
        weights, there = self.state_dict().get(MAPS), tensors.get(MAPS)
        if weights is not None:
            weight = torch.zeros_like(weights)
            if there is not None and there.shape[1] <= weights.shape[1]:
                weight[:, : there.shape[1]] = there
            tensors[MAPS] = weight if there is None or there.shape[1] <= weights.shape[1] else there
        load_tensors(self, tensors)


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The members of all lists of modules in a network, the outermost where lists are within members: the unit in which
    it is sharded, compiled, recomputed and computed in low precision. What computes a weight is none."""
    if isinstance(network, ParametrizationList):
        return
    for child in network.children():
        if isinstance(network, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from blocks(child)

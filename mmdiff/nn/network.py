"""What a network is: the one place where a modality computes.

    output = network(x, level, cond, mask),     level = (2/pi) atan2(sigma, alpha): 0 = data, 1 = noise
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from .inputs import CondLike


class Network(nn.Module, ABC):
    """Base of all networks. The constructor's first two arguments, ``channels`` and ``cond_dim``, come from the codec
    and the conditioner; the output is zero at initialisation."""

    @abstractmethod
    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        """``x`` ``(B, channels, *S)``, ``level`` ``(B,)`` or ``(B, T)``, ``mask`` ``(B, 1, *S)`` bool, True where real
        -> ``(B, channels, *S)``, zero outside the mask."""

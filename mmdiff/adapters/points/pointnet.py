"""PointNet, what judges point clouds.

    f(X) = g(max_i h(x_i)),    g and h perceptrons, h one for all points            (Qi et al. 2017, eq. 1)

The maximum makes it blind to the order of points and nearly so to their number. There are no learned rotations (the
paper's T-nets): shapes are expected upright.
"""

from itertools import pairwise

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

WIDTHS = (64, 128, 256)
"""Of h, for each point."""
FEATURES = 128


def _perceptron(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in pairwise(widths):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers)


class PointFeatures(nn.Module):
    """Clouds ``(B, 3, N)`` of one normaliser, any N -> ``(B, FEATURES)``."""

    def __init__(self) -> None:
        super().__init__()
        self.points = _perceptron(3, *WIDTHS)
        self.shape = _perceptron(WIDTHS[-1], FEATURES)

    def features(self, clouds: Tensor) -> Tensor:
        """``(B, 3, N)`` -> ``(B, FEATURES)``, what a last layer sees."""
        points = self.points(rearrange(clouds, "b c n -> (b n) c"))
        return self.shape(reduce(points, "(b n) c -> b c", "max", b=len(clouds)))


def augmented(
    clouds: Tensor, generator: torch.Generator, *, points: int = 256, jitter: float = 0.01, scale: float = 0.05
) -> Tensor:
    """Clouds ``(B, 3, N)`` as training sees them: ``points`` of them at random, moved and stretched a little.

    ``jitter`` is a standard deviation in units of the points; each axis is stretched by 1 - ``scale`` to 1 + ``scale``.
    """
    chosen = torch.rand(len(clouds), 1, clouds.shape[2], generator=generator).argsort(2)[..., :points]
    clouds = clouds.gather(2, chosen.expand(-1, 3, -1))
    stretch = 1 + scale * (2 * torch.rand(len(clouds), 3, 1, generator=generator) - 1)
    return stretch * clouds + jitter * torch.randn(clouds.shape, generator=generator)

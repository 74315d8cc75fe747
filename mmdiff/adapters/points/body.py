"""The network in whose features samples are compared; small, trained on the reference data, unlike any generator.

    cloud   one perceptron for all points -> maximum                                            (PointNet)
"""

import torch
from torch import Tensor

from ..judge import Body
from . import pointnet


class CloudBody(pointnet.PointFeatures, Body):
    """Clouds ``(B, 3, N)``, each put into the unit cube; the order of the points must mean nothing."""

    def forward(self, x: Tensor) -> Tensor:
        places = x[:, :3, :512].double()
        low, high = places.amin(2, keepdim=True), places.amax(2, keepdim=True)
        half = (high - low).amax(1, keepdim=True) / 2
        return self.features(((places - (low + high) / 2) / torch.where(half > 0, half, 1)).float())

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """256 points at random, stretched and moved a little."""
        return pointnet.augmented(x[:, :3], generator)

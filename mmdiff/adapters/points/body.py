"""The network in whose features samples are compared; small, trained on the reference data, unlike any generator.

    cloud   one perceptron for all points -> maximum                                            (PointNet)
"""

import torch
from torch import Tensor

from ..judge import Body
from . import pointnet
from .scores import cube


class CloudBody(pointnet.PointFeatures, Body):
    """Clouds ``(B, 3, N)``, each put into the unit cube; the order of the points must mean nothing."""

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.from_numpy(cube(x[:, :3, :512].double().mT.numpy())).float().mT
        return self.features(positions)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """256 points at random, stretched and moved a little."""
        return pointnet.augmented(x[:, :3], generator)

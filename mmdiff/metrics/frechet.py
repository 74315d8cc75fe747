"""Fréchet distance between two sets of features, each taken for a Gaussian.

    d^2 = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a^(1/2) C_b C_a^(1/2))^(1/2)          (Dowson & Landau 1982)

With any roots C = R^T R the last trace is the sum of the singular values of R_a R_b^T. The root is the triangle of a QR
decomposition of the centred features, so no covariance is formed and no root taken of an eigenvalue that rounding
moved below 0: the distance of a set to itself is 0 to machine precision, also with fewer samples than features.
"""

import torch
from torch import Tensor

from .features import comparable


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """The squared distance of ``(N, D)`` and ``(M, D)``, in squared units of the features, as FID reports it.

    It grows as N falls, even between samples of one distribution (Chong & Forsyth 2020): compare at one N only.
    Source: Heusel et al. 2017, eq. 6. Raises ``ValueError`` for fewer than 2 samples or sizes that do not match.
    """
    a, b = comparable(features_a, features_b)
    (mean_a, root_a), (mean_b, root_b) = _gaussian(a), _gaussian(b)
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * shared
    return float(distance.clamp(min=0))


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(D,)`` and a root ``(min(N, D), D)`` of the unbiased covariance."""
    mean = x.mean(0)
    return mean, torch.linalg.qr(x - mean, mode="r").R / (len(x) - 1) ** 0.5

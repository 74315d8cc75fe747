"""Maximum mean discrepancy of two sets of features, in the form of the kernel Inception distance.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),        k(x, y) = (x . y / D + 1)^degree

The estimate leaves out k(x_i, x_i), so it is unbiased: two samples of one distribution average 0 at every size, and
single values may be below it. It assumes no Gaussian, and compares moments up to ``degree``.
"""

import torch
from torch import Tensor

from .features import comparable


def kernel_distance(features_a: Tensor, features_b: Tensor, *, degree: int = 3) -> float:
    """Unbiased MMD^2 of ``(N, D)`` and ``(M, D)``.

    Source: Binkowski et al. 2018, section 4; Gretton et al. 2012, eq. 3. Raises ``ValueError`` for fewer than 2 samples
    or sizes that do not match.
    """
    a, b = comparable(features_a, features_b)
    across = _kernel(a, b, degree).mean()
    return float(_mean_of_pairs(_kernel(a, a, degree)) + _mean_of_pairs(_kernel(b, b, degree)) - 2 * across)


def _kernel(a: Tensor, b: Tensor, degree: int) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** degree


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - torch.trace(kernel)) / (n * (n - 1))

"""Maximum mean discrepancy of two sets of features, in the form of the kernel Inception distance.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),        k(x, y) = (x . y / D + 1)^degree

The estimate leaves out k(x_i, x_i), so it is unbiased: two samples of one distribution average 0 at every size, and
single values may be below it. It assumes no Gaussian, and compares moments up to ``degree``.
"""

import numpy as np
from torch import Tensor

from .features import comparable
from .sets import Distances


def kernel_distance(features_a: Tensor, features_b: Tensor, *, degree: int = 3) -> float:
    """Unbiased MMD^2 of ``(N, D)`` and ``(M, D)``.

    Source: Binkowski et al. 2018, section 4; Gretton et al. 2012, eq. 3. Raises ``ValueError`` for fewer than 2 samples
    or sizes that do not match.
    """
    return kernel_distance_of(kernels(features_a, features_b, degree=degree))


def kernels(features_a: Tensor, features_b: Tensor, *, degree: int = 3) -> Distances:
    """The kernel of all pairs between and within two sets of features."""
    a, b = comparable(features_a, features_b)
    return Distances(*(_kernel(x, y, degree).numpy() for x, y in ((a, b), (a, a), (b, b))))


def kernel_distance_of(k: Distances) -> float:
    """As ``kernel_distance``, of kernels that are known."""
    return float(_mean_of_pairs(k.samples) + _mean_of_pairs(k.references) - 2 * k.between.mean())


def _kernel(a: Tensor, b: Tensor, degree: int) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** degree


def _mean_of_pairs(kernel: np.ndarray) -> float:
    n = len(kernel)
    return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))

"""How far samples stay within the reference, and how much of it they reach, in any space of features.

    B_k(x)     the ball around x up to its k-th nearest other member of its own set
    precision  share of samples in some B_k(reference)      recall    share of references in some B_k(sample)
    density    1 / (k n) sum over samples of the count of B_k(reference) that hold it
    coverage   share of references whose B_k holds a sample

Precision and recall: Kynkäänniemi et al. 2019, eq. 1 and 2; one outlier widens them. Density and coverage: Naeem et al.
2020, eq. 3 and 4. For two samples of one distribution density is 1 on average, coverage a known value below 1.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .features import comparable
from .sets import Distances


class Coverage(NamedTuple):
    """Shares in [0, 1], but for density, which has no upper bound."""

    precision: float
    recall: float
    density: float
    coverage: float


def coverage(samples: Tensor, references: Tensor, *, k: int = 5) -> Coverage:
    """Of features ``(N, D)`` and ``(M, D)``, by L2 distance; ``ValueError`` for a set of ``k`` or fewer.

    All four depend on N, M and k: compare at one of each only.
    """
    return coverage_of(feature_distances(samples, references), k=k)


def feature_distances(samples: Tensor, references: Tensor) -> Distances:
    """L2 distances of features ``(N, D)`` and ``(M, D)``."""
    a, b = comparable(samples, references)
    pairs = ((a, b), (a, a), (b, b))
    matrices = [torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").numpy() for x, y in pairs]
    return Distances(*matrices)


def coverage_of(d: Distances, *, k: int = 5) -> Coverage:
    """As ``coverage``, of distances that are known."""
    n, m = d.between.shape
    if not 1 <= k < min(n, m):
        raise ValueError(f"k = {k} needs sets of more than k, got {n} and {m}: lower k")
    in_reference = d.between <= _radius(d.references, k)              # (N, M)
    in_sample = d.between <= _radius(d.samples, k)[:, None]
    return Coverage(
        precision=float(in_reference.any(1).mean()),
        recall=float(in_sample.any(0).mean()),
        density=float(in_reference.sum() / (k * n)),
        coverage=float(in_reference.any(0).mean()),
    )


def expected_coverage(samples: int, references: int, *, k: int = 5) -> float:
    """Coverage of N samples of the references' own distribution, whatever it is (Naeem et al. 2020, lemma 2)."""
    missed = 1.0
    for i in range(k):
        missed *= (references - 1 - i) / (samples + references - 1 - i)
    return 1 - missed


def _radius(distance: np.ndarray, k: int) -> np.ndarray:
    """Distance ``(N,)`` from each to its ``k``-th nearest other; copies of it count as others."""
    diagonal_free = distance.copy()
    np.fill_diagonal(diagonal_free, 0)
    return np.partition(diagonal_free, k, 1)[:, k]

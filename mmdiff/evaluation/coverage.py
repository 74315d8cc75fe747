"""How far samples stay within the reference, and how much of it they reach, in any space of features.

    B_k(x)     the ball around x up to its k-th nearest other member of its own set
    precision  share of samples in some B_k(reference)      recall    share of references in some B_k(sample)
    density    1 / (k n) sum over samples of the count of B_k(reference) that hold it
    coverage   share of references whose B_k holds a sample

Precision and recall: Kynkäänniemi et al. 2019, eq. 1 and 2; one outlier widens them. Density and coverage: Naeem et al.
2020, eq. 3 and 4. For two samples of one distribution density is 1 on average, coverage a known value below 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .features import comparable


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
    samples, references = comparable(samples, references)
    if not 1 <= k < min(len(samples), len(references)):
        raise ValueError(f"k = {k} needs sets of more than k, got {len(samples)} and {len(references)}: lower k")
    distance = torch.cdist(samples, references, compute_mode="donot_use_mm_for_euclid_dist")
    in_reference = distance <= _radius(references, k)                 # (N, M)
    in_sample = distance <= _radius(samples, k)[:, None]
    return Coverage(
        precision=in_reference.any(1).double().mean().item(),
        recall=in_sample.any(0).double().mean().item(),
        density=in_reference.sum().item() / (k * len(samples)),
        coverage=in_reference.any(0).double().mean().item(),
    )


def expected_coverage(samples: int, references: int, *, k: int = 5) -> float:
    """Coverage of N samples of the references' own distribution, whatever it is (Naeem et al. 2020, lemma 2)."""
    missed = 1.0
    for i in range(k):
        missed *= (references - 1 - i) / (samples + references - 1 - i)
    return 1 - missed


def _radius(x: Tensor, k: int) -> Tensor:
    """Distance ``(N,)`` from each to its ``k``-th nearest other; copies of it count as others."""
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    return distance.kthvalue(k + 1, 1).values

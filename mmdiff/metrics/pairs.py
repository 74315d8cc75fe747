"""Two samples of one number, and frames of one clip, compared."""

from scipy.stats import wasserstein_distance
from torch import Tensor


def wasserstein(a: Tensor, b: Tensor) -> float:
    """Wasserstein-1 distance of two samples ``(N,)`` and ``(M,)``, in their unit; NaN values are left out."""
    left, right = (values[values.isfinite()].numpy() for values in (a, b))
    if not len(left) or not len(right):
        return float("nan")
    return float(wasserstein_distance(left, right))


def consistency(classes: Tensor) -> Tensor:
    """Classes of frames ``(N, T)`` -> share of frames of each clip ``(N,)`` that have its commonest class."""
    return (classes == classes.mode(1).values[:, None]).double().mean(1)

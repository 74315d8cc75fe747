"""Two sets of features that may be compared: ``(N, D)`` and ``(M, D)``, in float64, of which second moments exist."""

from torch import Tensor


def comparable(features_a: Tensor, features_b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64; ``ValueError`` for sizes that do not match, fewer than 2 samples, or NaN."""
    if features_a.ndim != 2 or features_b.ndim != 2 or features_a.shape[1] != features_b.shape[1]:
        raise ValueError(
            f"features are (N, D) and (M, D) with one D, got {tuple(features_a.shape)} and {tuple(features_b.shape)}"
        )
    if min(len(features_a), len(features_b)) < 2:
        raise ValueError(f"a spread needs 2 samples at least, got {len(features_a)} and {len(features_b)}")
    for name, features in (("first", features_a), ("second", features_b)):
        if not features.isfinite().all():
            raise ValueError(f"the {name} set of features holds NaN or infinite values: look at its samples")
    return features_a.double(), features_b.double()

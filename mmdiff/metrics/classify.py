"""What a classifier says of samples whose label is known.

    proportion of samples given the label that was asked for: its accuracy
    confusion  counts[true, predicted]
    score      exp(E_x KL(p(y | x) || E_x p(y | x))),   from 1 to the number of classes       (Salimans et al. 2016)

The score is high where every sample is sure and all classes occur. It knows no real data and not the label that was
asked for, and strong guidance raises it: never read it alone.
"""

import torch
from scipy.special import ndtri
from torch import Tensor

from .bootstrap import Interval


def proportion(right: Tensor, *, confidence: float = 0.95) -> Interval:
    """Share of True in ``(N,)``, with Wilson's interval (Wilson 1927).

    Unlike a bootstrap, it has a width where all N are True: 300 of 300 are 0.987 to 1.
    """
    if right.ndim != 1 or not len(right):
        raise ValueError(f"a proportion is of (N,) truth values with N > 0, got {tuple(right.shape)}")
    return wilson(right.double().mean().item(), len(right), confidence=confidence)


def wilson(p: float, n: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a proportion ``p`` of ``n``."""
    z2 = ndtri(0.5 + confidence / 2).item() ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (p * (1 - p) / n + z2 / (4 * n**2))) ** 0.5 / (1 + z2 / n)
    return Interval(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)))


def confusion(predicted: Tensor, true: Tensor, *, classes: int) -> Tensor:
    """Counts ``(classes, classes)``: row = true, column = predicted."""
    return torch.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def classifier_score(probabilities: Tensor) -> float:
    """The Inception score's form on the probabilities ``(N, classes)`` of any classifier, without splits."""
    p = probabilities.double()
    if p.ndim != 2 or not torch.allclose(p.sum(1), torch.ones_like(p[:, 0]), atol=1e-4):
        raise ValueError(f"need probabilities (N, classes) whose rows sum to 1, got {tuple(p.shape)}: apply a softmax")
    divergence = torch.special.xlogy(p, p) - torch.special.xlogy(p, p.mean(0))
    return float(divergence.sum(1).mean().exp())

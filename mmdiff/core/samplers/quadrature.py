"""Weights of integration through scattered values, on the host, in float64.

    sum_j w_j s_j^m = M_m for m = 0 ... k - 1       M_m = integral of s^m dg over the step, s in [0, 1]

These k equations make the rule exact for every polynomial of degree below k (the method of undetermined coefficients),
whatever the measure dg. The moments come from quadrature of 24 points: closed forms cancel for short steps.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

POINTS = 24


def solve(nodes: list[float], moments: Tensor) -> list[float]:
    """The weights on values at ``nodes``, in units of the step: it starts at 0 and ends at 1."""
    powers = torch.arange(len(nodes), dtype=torch.float64)[:, None]
    return torch.linalg.solve(torch.tensor(nodes, dtype=torch.float64) ** powers, moments).tolist()


def moments_of_measure(g: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Integrals of s^m dg(s) over [0, 1], by parts to need no derivative of g: [s^m g] - m integral of s^(m-1) g ds."""
    s, weights = gauss_legendre()
    values = g(torch.cat([s, s.new_tensor([0.0, 1.0])]))
    inner, start, end = values[:-2] - values[-2], values[-2], values[-1]
    m = torch.arange(1, count, dtype=torch.float64)[:, None]
    later = (end - start) - (m * s ** (m - 1)) @ (weights * inner)
    return torch.cat([(end - start)[None], later])


def moments_of_density(density: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Means of s^m over [0, 1] under a density that need not be normalised."""
    s, weights = gauss_legendre()
    mass = weights * density(s)
    return s ** torch.arange(count, dtype=torch.float64)[:, None] @ (mass / mass.sum())


@cache
def gauss_legendre() -> tuple[Tensor, Tensor]:
    """Points and weights on [0, 1], from the eigenvectors of the Jacobi matrix (Golub & Welsch 1969)."""
    k = torch.arange(1, POINTS, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (points + 1) / 2, vectors[0] ** 2

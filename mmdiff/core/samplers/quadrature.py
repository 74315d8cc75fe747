"""Exact integrals of interpolating polynomials, on the host, in float64.

    integral of g(u) P(u) du = sum_j y_j  integral of g(u) L_j(u) du,     P through (u_j, y_j), L_j Lagrange's basis

Quadrature of 24 points in place of closed forms: those cancel for short steps, and would differ for every density g.
"""

import torch
from torch import Tensor

POINTS = 24


def _legendre(n: int) -> tuple[Tensor, Tensor]:
    """Points and weights on [-1, 1], as eigenvalues of the Jacobi matrix (Golub & Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return points, 2 * vectors[0] ** 2


def gauss_legendre(start: float, end: float) -> tuple[Tensor, Tensor]:
    """Points ``(24,)`` between ``start`` and ``end``, and weights that sum to ``end - start``."""
    points, weights = _legendre(POINTS)
    return (start + end) / 2 + (end - start) / 2 * points, (end - start) / 2 * weights


def lagrange(nodes: list[float], at: Tensor) -> Tensor:
    """The basis polynomials of ``nodes`` at ``at`` ``(P,)``: ``(len(nodes), P)``."""
    basis = torch.ones(len(nodes), len(at), dtype=torch.float64)
    for k, node in enumerate(nodes):
        for j, other in enumerate(nodes):
            if j != k:
                basis[k] *= (at - other) / (node - other)
    return basis

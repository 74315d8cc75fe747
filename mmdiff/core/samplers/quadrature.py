"""Integrals of interpolating polynomials, on the host, in float64.

    integral of P dg = sum_j y_j integral of L_j dg,     P the polynomial through (u_j, y_j), L_j Lagrange's basis

By quadrature of 24 points, which is exact to rounding for what samplers need. Closed forms (the phi functions of
exponential integrators) cancel for short steps, and would differ for every g.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

POINTS = 24


def integrals(nodes: list[float], g: Callable[[Tensor], Tensor], start: float, end: float) -> list[float]:
    """The integral of L_j dg from ``start`` to ``end`` for every node.

    By parts, so that no derivative of ``g`` is needed: [L_j g] - integral of L_j' g du, g taken relative to its start.
    """
    at, weights = gauss_legendre(start, end)
    ends = torch.tensor([start, end], dtype=torch.float64)
    origin, last = g(ends)
    inner = _slopes(nodes, at) @ (weights * (g(at) - origin))
    return (lagrange(nodes, ends[1:])[:, 0] * (last - origin) - inner).tolist()


def gauss_legendre(start: float, end: float) -> tuple[Tensor, Tensor]:
    """Points ``(24,)`` between ``start`` and ``end``, and weights that sum to ``end - start``."""
    points, weights = _legendre()
    return (start + end) / 2 + (end - start) / 2 * points, (end - start) / 2 * weights


def lagrange(nodes: list[float], at: Tensor) -> Tensor:
    """The basis polynomials of ``nodes`` at ``at`` ``(P,)``: ``(len(nodes), P)``."""
    basis = torch.ones(len(nodes), len(at), dtype=torch.float64)
    for k, node in enumerate(nodes):
        for j, other in enumerate(nodes):
            if j != k:
                basis[k] *= (at - other) / (node - other)
    return basis


def _slopes(nodes: list[float], at: Tensor) -> Tensor:
    """Derivatives of ``lagrange``: L_k' = sum_{m != k} (L_k without its factor m) / (u_k - u_m)."""
    slopes = torch.zeros(len(nodes), len(at), dtype=torch.float64)
    for k, node in enumerate(nodes):
        for m, other in enumerate(nodes):
            if m != k:
                without = [n for j, n in enumerate(nodes) if j != m]
                slopes[k] += lagrange(without, at)[k - (m < k)] / (node - other)
    return slopes


@cache
def _legendre() -> tuple[Tensor, Tensor]:
    """Points and weights on [-1, 1], from the eigenvectors of the Jacobi matrix (Golub & Welsch 1969)."""
    k = torch.arange(1, POINTS, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return points, 2 * vectors[0] ** 2

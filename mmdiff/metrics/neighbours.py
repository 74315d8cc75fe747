"""How near samples are to a training set.

    nearest(q) = min_r min_|k| <= shifts | q - r shifted by k |          memorised if far below that of held-out samples

Shifts run along the last axis, the edge value moving in, so that a copy that starts a little later is still a copy.
"""

import torch
from torch import Tensor, nn


def nearest_distances(
    queries: Tensor, references: Tensor, *, shifts: int = 0, block: int = 1024
) -> tuple[Tensor, Tensor]:
    """L2 distance ``(N,)`` from ``(N, *S)`` to the nearest of ``(M, *S)``, and its position ``(N,)``; in float64.

    ``block`` references are compared at a time. Raises ``ValueError`` where ``*S`` differ or no reference is given.
    """
    if queries.shape[1:] != references.shape[1:] or not len(references):
        raise ValueError(
            f"queries (N, *S) and references (M, *S) share *S, with M at least 1; got {tuple(queries.shape)} and "
            f"{tuple(references.shape)}"
        )
    size, rows = references.shape[-1], queries.flatten(1).double()    # float32 would see no copy as nearer than 0.03
    best = torch.full((len(queries),), torch.inf, dtype=rows.dtype, device=queries.device)
    where = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    for start in range(0, len(references), block):
        padded = _with_edges(references[start : start + block], shifts)
        for k in range(2 * shifts + 1):
            distance, position = torch.cdist(rows, padded[..., k : k + size].flatten(1)).min(1)
            where = torch.where(distance < best, start + position, where)
            best = torch.minimum(distance, best)
    return best, where


def _with_edges(x: Tensor, shifts: int) -> Tensor:
    """``(M, *S)`` in float64, its last axis longer by ``shifts`` at both ends."""
    rows = x.reshape(len(x), -1, x.shape[-1]).double()
    return nn.functional.pad(rows, (shifts, shifts), mode="replicate")

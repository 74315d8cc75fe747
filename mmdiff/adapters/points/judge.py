"""Point clouds: the scores of ``points-v1`` beside those of any modality."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...metrics.sets import Distances, jensen_shannon, occupancy
from ..judge import Between, Body, Judge
from .body import CloudBody
from .local import NEAREST, local_statistics
from .pairwise import chamfer, chamfer_matrix, sliced_wasserstein_matrix
from .scores import normalizing


class PointJudge(Judge):
    """Clouds ``(N, 3, P)`` of ``points`` points, the first of each.

    ``normalizer`` is that of ``points-v1``: cube, or none.
    """

    name, suffix = "points", ".ply"
    better: Mapping[str, int] = {
        f"{score}-{d}": sign for d in ("CD", "SWD") for score, sign in (("MMD", -1), ("COV", 1))
    } | {"JSD": -1}

    def __init__(self, *, points: int = 512, normalizer: str = "cube"):
        if normalizer not in {"cube", "none"}:
            raise ValueError(f"normalizer is cube or none, got {normalizer!r}")
        self.points, self.normalizer, self.shifts = points, normalizer, 0

    def body(self, **settings: int) -> Body:
        return CloudBody(**settings)

    def settings(self, codec: Any) -> dict[str, int]:
        return {}

    def stacked(self, samples: Sequence[Tensor], codec: Any, size: Mapping[str, float]) -> Tensor:
        """``points`` of each, or as many as all have; their order is shuffled.

        Raises ``ValueError`` for clouds too small to have neighbours, or of several numbers of points below ``points``,
        of which the smallest would decide what is seen of all others.
        """
        sizes, rng = sorted({min(self.points, s.shape[-1]) for s in samples}), np.random.default_rng(0)
        count = sizes[0]
        if count < NEAREST or len(sizes) > 1:
            raise ValueError(
                f"clouds are judged by as many points each, {NEAREST} at least, and these have {sizes[0]}"
                + (f" to {sizes[-1]}" if len(sizes) > 1 else "") + ": train with more, or with as many each"
            )
        clouds = np.stack([s[:3].numpy()[:, rng.permutation(s.shape[-1])[:count]] for s in samples])
        rows = normalizing(self.normalizer, clouds)(clouds.transpose(0, 2, 1).astype(np.float64))
        return torch.from_numpy(rows).mT.float()

    def latents(self, x: Tensor, codec: Any) -> Tensor:
        """Occupancy of a grid of 8 x 8 x 8, the root of shares: a Hellinger distance, blind to the order of points."""
        counts = torch.from_numpy(occupancy(x.mT.numpy(), resolution=8))
        return (counts / counts.sum(1, keepdim=True)).sqrt()

    def values(self, x: Tensor, codec: Any) -> dict[str, Tensor]:
        local = local_statistics(x.mT.double().numpy())
        return {name: torch.from_numpy(np.asarray(value)) for name, value in local._asdict().items()}

    def between(self, x: Tensor, codec: Any) -> dict[str, tuple[Tensor, Between]]:
        clouds = x.mT.double().numpy()
        grid = torch.from_numpy(occupancy(clouds))
        return {"JSD": (grid, lambda a, b: jensen_shannon(a.sum(0).numpy(), b.sum(0).numpy()))}

    def matrices(self, x: Tensor, reference: Tensor) -> dict[str, Distances]:
        """Distances of two sets by CD and SWD."""
        a, b = x.mT.double().numpy(), reference.mT.double().numpy()
        distances_by_name: dict[str, Callable[..., np.ndarray]] = {
            "CD": chamfer_matrix, "SWD": partial(sliced_wasserstein_matrix, seed=0),
        }
        return {name: Distances(matrix(a, b), matrix(a), matrix(b)) for name, matrix in distances_by_name.items()}

    def paired(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        pairs = zip(x.mT.double().numpy(), truth.mT.double().numpy(), strict=True)
        return {"CD to its own": torch.tensor([chamfer(a, b) for a, b in pairs])}

    def faults(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        n, _, points = x.shape
        quarter = torch.randint(max(1, points // 4), (n, 1, points), generator=generator)
        return {
            "noise of 0.05": x + 0.05 * torch.randn(x.shape, generator=generator),
            "a quarter of the points, repeated": x.gather(2, quarter.expand_as(x)),
            "upside down": x * torch.tensor([1.0, -1.0, -1.0])[:, None],
            "flattened by half": x * torch.tensor([1.0, 0.5, 1.0])[:, None],
            "Gaussian blobs": x.mean((0, 2))[:, None] + x.std() * torch.randn(x.shape, generator=generator),
            "one cloud for all": x[:1].expand_as(x).clone(),
            "labels shuffled": x.roll(max(1, n // 3), 0),
        }

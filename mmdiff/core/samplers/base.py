"""One loop for every sampler: all of them are tables of numbers.

    f_k = x0(x_k, t_k) + p x_k                         what is remembered of the k-th network call
    x   = a z + b_0 f_k + b_1 f_{k-1} + ... + c noise  the next point, from the base z; the result after the last call

The table depends on the schedule, the grid and the number of steps alone. It is made once, on the host, in float64,
so a step costs a few element-wise operations, and never waits for the device.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..grids import Grid, UniformGrid
from ..jumps import Ends
from ..schedules import Schedule
from ..types import Denoise


class Path(NamedTuple):
    """Where a trajectory goes, on the host: its nodes and, in ``alpha`` and ``sigma``, the clean level (1, 0) last."""

    time: list[float]
    alpha: list[float]
    sigma: list[float]
    u: list[float]
    """The nodes as the grid numbers them, evenly spaced; 1 last where the grid ends at the clean level, or nothing."""
    ratio: Callable[[Tensor], Tensor]
    """sigma / alpha between the nodes, as a function of u."""


class SolverRow(NamedTuple):
    """One network call and what follows it. Combinations are (factor of the base, factors of f, newest first)."""

    node: int
    """Number of the node whose time the network is told."""
    step: tuple[float, ...]
    noise: float = 0.0
    accept: bool = True
    """Whether the new point becomes the base."""
    remember: float = 0.0
    """p, the share of x in what is remembered."""


class Table(NamedTuple):
    """A trajectory in numbers: ``time`` of each node, and what is done at each network call."""

    time: list[float]
    rows: list[SolverRow]


class Sampler(ABC):
    """Integrates any ``Denoise`` from pure noise to data. A value: it holds its constructor's arguments alone.

    ``steps`` is the number of nodes of ``grid``, and the last step ends at the clean level. It is also the number of
    network calls, but for solvers that say otherwise; ``calls`` is always that number.
    """

    def __init__(self, steps: int = 20, grid: Grid | None = None):
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps, self.grid = steps, grid or UniformGrid()

    @property
    def calls(self) -> int:
        """How many network calls one trajectory makes."""
        return self.steps

    def ends(self, schedule: Schedule) -> Ends | None:
        """Where the network is to jump to from the times that it is asked at, by one that is told so; None: nowhere,
        the expected x0 is asked for."""
        return None

    @abstractmethod
    def rows(self, path: Path) -> Sequence[SolverRow]:
        """One row for each network call."""

    def table(self, schedule: Schedule) -> Table:
        """What ``integrate`` runs: made once for equal settings, on the host."""
        return _table(_ByValue(self, schedule))

    def __call__(
        self, denoise: Denoise, x1: Tensor, schedule: Schedule,
        noise: Callable[[int], Tensor] | None = None, progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """x0 from ``x1`` ``(B, C, *S)``, float32 or float64, which is pure noise of std ``sigma(1)``.

        ``noise(i)`` gives the i-th injected standard normal of the shape of ``x1``; only stochastic samplers ask.
        ``progress(k)`` is called after the k-th network call, from 0.
        """
        if x1.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"x1 must be float32 or float64, got {x1.dtype}: only the network may run in less")
        table = self.table(schedule)
        if noise is None and any(row.noise for row in table.rows):
            raise ValueError(
                f"{type(self).__name__} is stochastic: pass noise=, a function i -> standard normal of the shape of x1 "
                "(or choose a deterministic sampler, or eta=0)"
            )
        return integrate(denoise, x1, table, noise, progress)


def integrate(
    denoise: Denoise, x: Tensor, table: Table,
    noise: Callable[[int], Tensor] | None = None, progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Where a table takes ``x`` ``(B, C, *S)``. There is nothing but tensors and numbers in it, so that a compiler sees
    all of a trajectory as one graph."""
    time, rows = table
    times = torch.tensor([time[row.node] for row in rows], dtype=x.dtype).to(x.device, non_blocking=True).unbind()
    depth = max(len(row.step) for row in rows) - 1
    base, drawn = x, 0
    memory: list[Tensor] = []
    for k, row in enumerate(rows):
        x0 = denoise(x, times[k].expand(len(x))).to(x.dtype)
        field = torch.add(x0, x, alpha=row.remember) if row.remember else x0
        memory = [field, *memory[: depth - 1]]
        x = combine(row.step, base, memory)
        if row.noise and noise is not None:
            x.add_(noise(drawn), alpha=row.noise)
            drawn += 1
        if row.accept:
            base = x
        if progress is not None:
            progress(k)
    return x


def combine(factors: tuple[float, ...], base: Tensor, fields: list[Tensor]) -> Tensor:
    """``factors[0] base + factors[1] fields[0] + ...``, in a new tensor."""
    x = torch.add(base if factors[0] == 1 else base * factors[0], fields[0], alpha=factors[1])
    for factor, field in zip(factors[2:], fields[1:], strict=False):
        x.add_(field, alpha=factor)
    return x


class _ByValue:
    """A sampler and a schedule, equal to others that hold the same: a setting that is changed makes another table."""

    def __init__(self, sampler: Sampler, schedule: Schedule):
        self.sampler, self.schedule, self.key = sampler, schedule, _key((sampler, schedule))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByValue) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _key(value: Any) -> Any:
    if isinstance(value, Sampler | Grid | Schedule):
        return type(value), *((name, _key(part)) for name, part in vars(value).items())
    if isinstance(value, list | tuple):
        return tuple(_key(part) for part in value)
    return value if isinstance(value, Hashable) else repr(value)


@lru_cache(maxsize=128)
def _table(settings: _ByValue) -> Table:
    sampler, schedule = settings.sampler, settings.schedule
    path = trace(schedule, sampler.grid, sampler.steps)
    return Table(path.time, list(sampler.rows(path)))


def trace(schedule: Schedule, grid: Grid, steps: int) -> Path:
    """The path that ``grid`` takes through ``schedule``."""
    time, u = grid(schedule, steps), grid.nodes(schedule, steps).tolist()
    alpha, sigma = schedule.level(time)
    return Path(
        time=time.tolist(),
        alpha=[*alpha.tolist(), 1.0],
        sigma=[*sigma.tolist(), 0.0],
        u=[*u, 1.0] if grid.clean(schedule, steps) else u,
        ratio=lambda u: grid.ratio(u, schedule, steps),
    )

"""What follows the first positions of held-out samples, beside what is had without a model.

    members    continuations of the same positions by other noise, of which the CRPS by lead is taken
    jump       between the last given position and the next: that of real samples where nothing shows
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ..adapters.judge import Judge
from ..core.types import Masked
from ..data.dataset import spread
from ..data.labels import Label
from ..data.progress import progress_bar
from ..generation.pipeline import Pipeline
from ..metrics.bootstrap import Interval, bootstrap
from ..metrics.forecast import crps, jump
from ..metrics.rows import Row
from .report.findings import apart

REAL, MODEL, SEAM = "real", "model", "jump at the seam"
LEADS = 4
"""Leads of which a table has the CRPS, at most."""


def prediction(
    pipeline: Pipeline, judge: Judge, x: Tensor, labels: Sequence[Mapping[str, Label]], *, given: int, members: int,
    batch_size: int,
) -> dict[str, Row]:
    """A row for the model, for each of ``judge.continued`` and for real samples ``x`` ``(N, C, T, ...)`` themselves."""
    before, truth = x[:, :, :given], x[:, :, given:]
    generated = torch.stack([
        continued(pipeline, x, labels, given=given, batch_size=batch_size, draw=draw)[:, :, given:]
        for draw in progress_bar(range(members), "predictions", unit="member", leave=False)
    ])
    simple = judge.continued(before, truth.shape[2])
    leads = [i + 1 for i in spread(truth.shape[2], LEADS)]
    rows: dict[str, Row] = {}
    for name, guesses in {MODEL: generated, **{name: guess[None] for name, guess in simple.items()}}.items():
        error = crps(guesses, truth)
        measured = {"CRPS": error.mean(1), **{f"CRPS at +{lead}": error[:, lead - 1] for lead in leads},
                    SEAM: jump(before, guesses[0]), **judge.paired(guesses[0], truth)}
        rows[name] = {"n": len(x), **{metric: bootstrap(v, resamples=500) for metric, v in measured.items()}}
    return {**rows, REAL: {"n": len(x), SEAM: bootstrap(jump(before, truth), resamples=500)}}


@torch.no_grad()
def continued(
    pipeline: Pipeline, x: Tensor, labels: Sequence[Mapping[str, Label]], *, given: int, batch_size: int, draw: int = 0
) -> Tensor:
    """Samples ``(N, C, T, ...)`` anew from their first ``given`` positions; the rest of them is not looked at."""
    model, generated = pipeline.model, list[Tensor]()
    make = partial(model.latents, sampler=pipeline.sampler, guidance=pipeline.guidance, draw=draw)
    for start in range(0, len(x), batch_size):
        part = x[start : start + batch_size].to(model.device)
        latents, known = (model.codec.encode(Masked(samples)).x for samples in (part, part[:, :, :given]))
        latents[:, :, : known.shape[2]] = known                       # of what is given, and nothing that follows
        mask = torch.zeros_like(latents[:, :1], dtype=torch.bool)
        mask[:, :, : known.shape[2]] = True
        rows, seeds = labels[start : start + batch_size], range(start, start + len(part))
        generated += model.decoded(make(rows, seeds, latents.shape[2:], known=Masked(latents, mask)), **pipeline.size)
    return torch.stack(generated)


def outdone(rows: Mapping[str, Row]) -> list[str]:
    """A sentence for what is as good without the model, and one for a seam that shows."""
    said: list[str] = []
    mine, seam, real = rows[MODEL]["CRPS"], rows[MODEL][SEAM], rows[REAL][SEAM]
    assert isinstance(mine, Interval) and isinstance(seam, Interval) and isinstance(real, Interval)
    errors = {name: row["CRPS"] for name, row in rows.items() if name not in (MODEL, REAL)}
    as_good = [f"{name} {error.value:.3g}" for name, error in errors.items()
               if isinstance(error, Interval) and error.value <= mine.value]
    if as_good:
        said.append(f"Warning: what follows is predicted as well without the model, whose CRPS is {mine.value:.3g}: "
                    f"{', '.join(as_good)}.")
    if seam.value > real.value and apart(seam, real):
        said.append(f"Warning: what is generated jumps where it begins, by {seam.value:.3g}; real samples change by "
                    f"{real.value:.3g} there.")
    return said

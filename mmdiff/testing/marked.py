"""What ``mmdiff mark`` will ask of a model, asked of one sample."""

import math

import torch

from ..adapters.attacks import changed
from ..core.samplers import Auto
from ..marks.base import Candidate
from ..marks.ledger import LedgerMark
from .trial import Trial


def marked(trial: Trial) -> int:
    """Have the mark of the ledger looked for after each attack; gives their number. Raises ``AssertionError``."""
    model, row = trial.awake, trial.dataset.read(0)[1]
    shape = model.codec.latent_shape(**trial.stored["size"])
    plain, marked_latent = (
        model.latents([row], [0], shape, sampler=Auto(2), mark=mark) for mark in (None, LedgerMark(steps=1))
    )
    assert torch.equal(plain, marked_latent), "the mark of the ledger changes a latent"
    sample = trial.samples[0]
    for name, attack in {"nothing": changed(lambda x: x), **model.codec.attacks()}.items():
        found = attack(sample, trial.folder)
        assert found.shape[0] == len(sample) and found.isfinite().all(), f"attacks(): {name!r} gives no sample"
        (score,) = LedgerMark(steps=1).score([found], model.source, [[Candidate(0, shape)]])
        assert math.isfinite(score.z), f"attacks(): no mark can be looked for after {name!r}"
    return len(model.codec.attacks())

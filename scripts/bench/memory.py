"""Memory that a plan reckons beside that which training takes: python scripts/bench/memory.py [EXPERIMENT ...]

Measured are the most bytes that tensors have at once in three steps of the real training on a CPU, weights and averages
included; reckoned is what ``mmdiff plan plan.device=...`` says of the same run.
"""

import sys
import tempfile
from itertools import chain
from pathlib import Path

import torch

from mmdiff.config.files import resolved
from mmdiff.config.overrides import composed
from mmdiff.engines.memory import Peak
from mmdiff.metrics.rows import markdown
from mmdiff.training.elsewhere import Device, costs, estimate
from mmdiff.training.run import assemble
from mmdiff.training.trainer import build_trainer

RECIPES = ("audio/demo", "video/shapes", "points/demo")
CARD = Device("this machine", memory_gb=1.0)
MIB = 2**20


def row(recipe: str, *more: str) -> dict[str, object]:
    """What was reckoned and measured of an experiment."""
    words = [f"experiment={recipe}", "trainer=cpu", "logger=csv", "trainer.max_steps=3", "preview.n=0",
             "validation.every=0", "checkpoint.every=0", *more]
    config = composed("train", words)
    reckoned = costs(estimate(config), config, CARD, devices=1, trainer="ddp", utilisation=1.0).memory
    with tempfile.TemporaryDirectory() as folder:
        parts = assemble(resolved(config), Path(folder))
        module = parts.module
        trainer = build_trainer(config, Path(folder), [])
        held = sum(t.untyped_storage().nbytes() for t in chain(module.parameters(), module.buffers()))
        with Peak(module) as peak:
            trainer.fit(module)
    measured = held + peak.most
    return {
        "recipe": " ".join([recipe, *more]), "batch": config.loader.batch_size,
        "reckoned, MiB": f"{reckoned / MIB:.1f}", "measured, MiB": f"{measured / MIB:.1f}",
        "difference": f"{100 * (reckoned / measured - 1):+.1f} %",
    }


def main() -> None:
    torch.set_num_threads(1)
    rows = [row(recipe, *more) for recipe in sys.argv[1:] or RECIPES for more in ((), ("recompute=1",))]
    print(markdown(rows))


if __name__ == "__main__":
    main()

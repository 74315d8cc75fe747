"""``mmdiff train [run=DIR] [adapter=... data=... experiment=... key=value ...] [-m] [--cfg job]``: train a model.

A run directory that exists is continued. ``mmdiff list`` shows what can be chosen, and ``mmdiff train --cfg job`` every
key of a choice with its value. ``-m`` takes several values of a key (``-m seed=0,1,2``) and makes a run of each, in a
folder of ``run`` that is named after them (``seed-0``).
"""

from omegaconf import OmegaConf

from ..config.overrides import composed
from ..config.words import parted
from .recipe import hint
from .sweep import Sweep


def main(arguments: list[str]) -> int:
    """Train; an existing run is continued."""
    words, flags = parted(arguments, "-m", "--cfg")
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(composed("train", words)))
        return 0
    sweep = Sweep("train", words, swept="-m" in flags)
    from ..training.train import say, train  # after mistakes in the words: it takes seconds

    if not sweep.swept and (proposed := hint(words)):
        say(proposed)
    for run in sweep.runs:
        with sweep.attempt(run):
            train(run.config, run.overrides)
    return sweep.code

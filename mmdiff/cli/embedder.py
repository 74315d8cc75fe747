"""``mmdiff embedder RUN out=FILE [steps=1000 seed=0]``: train what samples are judged with on a run's data.

It sees the training split alone and is written with its accuracy on held-out samples. Name the file in
``mmdiff eval RUN evaluation.embedder=FILE`` to judge several models with one.
"""

import json
from pathlib import Path

from omegaconf import OmegaConf

from ..config.build import ConfigError
from ..config.overrides import composed, with_run
from ..config.words import parted
from .places import writable


def main(arguments: list[str]) -> int:
    """Train and write an embedder."""
    words, flags = parted(arguments, "--cfg")
    config = composed("embedder", with_run("embedder", words, ("data",)))
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(config))
        return 0
    for name in ("run", "out"):
        if OmegaConf.is_missing(config, name):
            raise ConfigError("say what to learn and where to write it: mmdiff embedder RUN out=FILE.safetensors")
    if (out := Path(config.out)).suffix != ".safetensors":
        raise ConfigError(f"out={config.out}: an embedder is written as .safetensors")
    writable("out", out.parent)

    from ..evaluation.evaluated import open_learner, train_embedder
    from ..evaluation.real import DataSource

    evaluated = open_learner(config.run, DataSource.of(config))
    model = train_embedder(evaluated, evaluated.codec.judge(), out, steps=config.steps, seed=config.seed)
    print(f"{config.out}: on held-out samples {json.dumps(model.facts['held out'])}")
    return 0

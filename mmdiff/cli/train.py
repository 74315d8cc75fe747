"""``mmdiff train [run=DIR] [adapter=... data=... experiment=... key=value ...] [-m] [--cfg job]``: train a model.

A run directory that exists is continued. ``mmdiff list`` shows what can be chosen, and ``mmdiff train --cfg job`` every
key of a choice with its value. ``-m`` takes several values of a key (``-m seed=0,1,2``) and makes a run of each.
"""

import os
import sys
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from .overrides import completed, swept_keys


def main(arguments: list[str]) -> int:
    """Train; an existing run is continued."""
    return launched("train", arguments, _train)


def _train(config: DictConfig, overrides: list[str]) -> int:
    from ..training.run import Interrupted, say, train

    try:
        run = train(config, overrides)
    except Interrupted as stop:
        say(stop)
        return 130
    say(f"{run}: done; generate with: mmdiff sample {run} n=8")
    return 0


def launched(command: str, arguments: list[str], work: Callable[[DictConfig, list[str]], int]) -> int:
    """Compose with Hydra (sweeps and ``--cfg`` included) and do ``work`` with the configuration and the overrides."""
    os.environ["HYDRA_FULL_ERROR"] = "1"                              # errors come to us, not to the screen
    sys.argv[1:] = completed("train", arguments)
    swept = tuple(f"{key}=" for key in swept_keys(arguments))
    code, failed = 0, []

    @hydra.main(version_base="1.3", config_path="pkg://mmdiff.configs", config_name="train")
    def job(config: DictConfig) -> None:
        nonlocal code
        settings = HydraConfig.get()
        if settings.mode == RunMode.MULTIRUN:
            values = [o.lstrip("+") for o in settings.overrides.task if o.lstrip("+").startswith(swept)]
            with open_dict(config):
                config.run = f"{config.run}/{','.join(values).replace('/', '-') or settings.job.num}"
        own = [o for o in settings.overrides.task if not o.startswith("run=")]
        sys.argv[1:] = [command, *own, f"run={config.run}"]           # what Lightning starts the other ranks with
        try:
            code = work(config, list(settings.overrides.task))
        except Exception as error:                                    # Hydra would print it in its own way
            failed.append(error)

    job()
    if failed:
        raise failed[0]
    return code

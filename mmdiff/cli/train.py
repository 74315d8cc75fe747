"""``mmdiff train [run=DIR] [adapter=... data=... experiment=... key=value ...] [-m] [--cfg job]``: train a model.

A run directory that exists is continued. ``mmdiff list`` shows what can be chosen, and ``mmdiff train --cfg job`` every
key of a choice with its value. ``-m`` takes several values of a key (``-m seed=0,1,2``) and makes a run of each, in a
folder of ``run`` that is named after them (``seed-0``).
"""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from omegaconf import DictConfig, OmegaConf

from ..config.files import literal
from ..config.overrides import combinations, completed, composed
from ..config.words import parted, written
from .errors import told

Work = Callable[[DictConfig, list[str]], int]
LENGTH = 40
"""Characters of a swept value in a folder's name, at most."""


def main(arguments: list[str]) -> int:
    """Train; an existing run is continued."""
    return launched("train", arguments, _train)


def _train(config: DictConfig, overrides: list[str]) -> int:
    from ..training.run import Interrupted, say, train

    try:
        train(config, overrides)
    except Interrupted as stop:
        say(stop)
        return 130
    return 0


def launched(command: str, arguments: list[str], work: Work) -> int:
    """Compose and do ``work`` with the configuration and its overrides; with ``-m`` for every combination of values."""
    words, flags = parted(arguments, "-m", "--cfg")
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(composed("train", words)))
        return 0
    if "-m" in flags:
        return _swept(command, words, work)
    return _one(command, composed("train", words), words, work)


def _one(command: str, config: DictConfig, words: Sequence[str], work: Work) -> int:
    own = [word for word in words if not word.startswith("run=")]
    sys.argv[1:] = [command, *own, written("run", config.run)]        # what Lightning starts the other ranks with
    return work(config, completed("train", words))


def _swept(command: str, words: list[str], work: Work) -> int:
    """One run after the other. A run that fails is told and does not keep the others from being made; Ctrl-C does."""
    runs = []
    for values in combinations("train", words):                       # all composed first: mistakes before the work
        rest = [word for word in words if word.lstrip("+").partition("=")[0] not in values]
        runs.append(([*rest, *(f"{key}={value}" for key, value in values.items())], folder(values)))
    configs = [composed("train", own) for own, _ in runs]
    base, code = configs[0].run, 0
    again = shlex.join([
        "mmdiff", command, "-m", written("run", base), *(word for word in words if not word.startswith("run="))
    ])
    for config, (own, name) in zip(configs, runs, strict=True):
        config.run = literal(f"{base}/{name}" if name else base)
        try:
            with _left_clean():
                result = _one(command, config, own, work)
        except KeyboardInterrupt:
            result = 130
        except Exception as error:
            if (failed := told(command, error, where=config.run)) is None:
                raise
            result = failed
        if result == 130:
            print(f"the sweep is stopped; go on with: {again}", file=sys.stderr)
            return 130
        code = code or result
    return code


def folder(values: Mapping[str, str]) -> str:
    """The folder of a run of a sweep, as every command and file system takes it: ``seed-1,optim.lr-0.01``."""
    return _safe(",".join(f"{key.replace('/', '.')}-{_safe(value, LENGTH)}" for key, value in values.items()), 200)


def _safe(value: str, length: int) -> str:
    """A text of plain characters; one that had others, or is too long, ends in a hash that keeps it apart."""
    plain = re.sub(r"[^\w.,+-]+", "-", value, flags=re.ASCII).strip("-")[:length]
    return plain if plain == value else f"{plain}-{hashlib.sha256(value.encode()).hexdigest()[:8]}".lstrip("-")


@contextmanager
def _left_clean() -> Iterator[None]:
    """Ends what Lightning leaves in a process of the ranks that it started, so that the next run starts its own."""
    before = dict(os.environ)
    try:
        yield
    finally:
        import torch.distributed

        if "LOCAL_RANK" not in before and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)

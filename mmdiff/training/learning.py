"""Which parts of a model learn, ``train.only=[network.blocks.0-3, conditioner]``, and how: whole, or by ``lora=16``.

    parameter   network.blocks.2.attention.qkv.weight
    patterns    network    blocks.2    blocks.0-3.attention    qkv    blocks.*.attention

A pattern is some words of a name, one after the other, from anywhere in it; ``*`` and ``?`` stand for signs within
a word, ``0-3`` for a number.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from .. import change
from ..config.adapter import is_conditional
from ..config.build import ConfigError
from ..data.labels import suggest
from ..learner import Learner
from ..nn import lora
from ..nn.network import is_pretrained
from ..store import generating
from .base import Base

RANGE = re.compile(r"(\d+)-(\d+)")


def selected(names: Iterable[str], patterns: Sequence[str], *, key: str) -> list[str]:
    """The names that a pattern fits. Raises ``ConfigError`` about ``key`` for a pattern that fits none."""
    names = list(names)
    found = {pattern: {name for name in names if fits(pattern, name)} for pattern in patterns}
    for pattern, matching in found.items():
        if not matching:
            known = dict.fromkeys(".".join(name.split(".")[:n]) for n in range(1, 8) for name in names)
            raise ConfigError(f"{key}: no part of the model is named {pattern!r}; {suggest(pattern, list(known))}")
    return [name for name in names if any(name in matching for matching in found.values())]


def fits(pattern: str, name: str) -> bool:
    """Whether the words of a pattern are in a name, one after the other.

    >>> fits("blocks.0-3", "network.blocks.2.weight"), fits("blocks.0-3", "network.blocks.12.weight")
    (True, False)
    """
    wanted, words = pattern.split("."), name.split(".")
    starts = range(len(words) - len(wanted) + 1)
    return any(all(map(_similar, wanted, words[start:])) for start in starts)


def _similar(wanted: str, word: str) -> bool:
    bounds = RANGE.fullmatch(wanted)
    if bounds and word.isdigit():
        return int(bounds[1]) <= int(word) <= int(bounds[2])
    return fnmatchcase(word, wanted)


def learn(model: Learner, base: Base | None, config: DictConfig) -> None:
    """Let learn what a run says: all, the parts of ``train.only=``, or by ``lora=`` a low-rank change of layers there.

    Raises ``ConfigError`` where nothing is there to leave as it is, or to change.
    """
    only, rank = config.train.only, config.lora
    if config.dora and not rank:
        raise ConfigError("dora=true is a kind of low-rank change: give it a rank, such as lora=16")
    if config.branch and not (rank and model.controls):
        raise ConfigError("branch=true lets a small change act where a map is told and nowhere else: give it a rank "
                          "and maps, such as lora=16 adapter/controls=...")
    if is_pretrained(model.network) and not rank:
        raise ConfigError("the weights of a public model stay as they are: give the change that learns a rank, such as "
                          "lora=16")
    if config.init is None and (only is not None or rank is not None):
        key = "lora=" if only is None else "train.only="
        raise ConfigError(f"{key} leaves the rest as it is in the model of init=, so name that too")
    if rank is not None and base is not None:
        model, start = generating(model, f"run={config.run}"), generating(base.model, base.path)
        _keep(model, base, config)
        weights = [f"{name}.weight" for name in lora.layers(model.trainable)] if rank else []
        chosen = selected(weights, ["network"] if only is None else only, key="train.only") if rank else []
        model.branch = config.branch
        change.learn(model, start, rank, dora=config.dora,
                     layers=[name.removesuffix(".weight") for name in chosen])
        if not any(parameter.requires_grad for parameter in model.trainable.parameters()):
            raise ConfigError("lora=0 learns the rows of new classes alone, and the data have none: give it a rank")
    elif only is not None and base is not None:
        learn_only(model, only)
        parameters = dict(model.trainable.named_parameters())
        both = [generating(part, config.run) for part in (model, base.model)] if is_conditional(config) else []
        new = change.new_tensors(*both) if both else []
        if left := [name for name in new if name in parameters and not parameters[name].requires_grad]:
            raise ConfigError(f"train.only= leaves out {left[0]}, so that what the data tell and init={config.init} "
                              "does not know would never be learned: add conditioner (network.maps for maps) to it, or "
                              "leave those out of data.labels=")


def _keep(model: Learner, base: Base, config: DictConfig) -> None:
    """Refuse a codec with other tensors than the base's: a change does not hold them."""
    if model.codec is base.model.codec:
        return
    codec, other = model.codec.state_dict(), base.model.codec.state_dict()
    if codec.keys() != other.keys() or not all(torch.equal(codec[name], other[name]) for name in codec):
        raise ConfigError(f"lora= leaves the codec of init={config.init} as it is, and adapter.codec would replace a "
                          "part of it: leave that out")


def learn_only(model: Learner, patterns: Sequence[str]) -> None:
    """Leave all parameters as they are but those that ``patterns`` name below ``model.trainable``."""
    parameters = dict(model.trainable.named_parameters())
    learned = set(selected(parameters, patterns, key="train.only"))
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in learned)
    if not learned:
        raise ConfigError("train.only= names nothing, so nothing would learn; leave it out to train all")


def unlearned(model: Learner, module: nn.Module) -> set[str]:
    """Names in ``module`` of the tensors of ``model`` that stay as they are, where only a part of it learns."""
    parameters = list(model.trainable.parameters())
    frozen, learned = ({id(p) for p in parameters if p.requires_grad == learns} for learns in (False, True))
    fixed = {id(b) for b in model.codec.state_dict(keep_vars=True).values()} - learned if frozen else set()
    return {name for name, value in module.state_dict(keep_vars=True).items() if id(value) in frozen | fixed}


def leave_out(module: nn.Module, names: set[str]) -> None:
    """Leave tensors of those names out of what ``module`` gives to be saved."""
    def hook(module: nn.Module, state: dict[str, Any], prefix: str, facts: dict[str, Any]) -> None:
        for name in names:
            state.pop(prefix + name, None)

    module.register_state_dict_post_hook(hook)

"""What computes a network, behind the contract of one: guidance, samplers and editing do not know of it.

    engine(network) -> network',        network'(x, level, cond, mask) ~ network(x, level, cond, mask)

An engine is a value; what it makes of a network belongs to that network.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from .precision import Precision


class Engines(ABC):
    """One engine, or several of which the quickest is taken."""

    @abstractmethod
    def here(self, device: torch.device, precision: Precision) -> Sequence["Engine"]:
        """The engines to choose from. Raises ``ValueError`` with the remedy where none works on this machine."""


class Engine(Engines):
    """Computes networks in one way."""

    @abstractmethod
    def __call__(self, network: nn.Module, precision: Precision, *, key: str) -> nn.Module:
        """A network to be called as ``network``, which stays as it is; ``key`` names its weights, where what is made of
        them is kept."""

    def here(self, device: torch.device, precision: Precision) -> Sequence["Engine"]:
        if reason := self.obstacle(device, precision):
            raise ValueError(f"engine={self.name}: {reason}")
        return [self]

    def obstacle(self, device: torch.device, precision: Precision) -> str:
        """Why it does not work on this machine, with the remedy; nothing where it does."""
        return ""

    @property
    def name(self) -> str:
        """The option of the command line that it is."""
        return type(self).__name__.lower()

    @property
    def runtime(self) -> str:
        """The library that computes, with its version."""
        return f"torch {torch.__version__}"


class Eager(Engine):
    """PyTorch, an operation at a time."""

    def __call__(self, network: nn.Module, precision: Precision, *, key: str) -> nn.Module:
        return precision(network)


class Compile(Engine):
    """``torch.compile``: the first call of a shape takes its time, and later ones less."""

    def __call__(self, network: nn.Module, precision: Precision, *, key: str) -> nn.Module:
        return cast(nn.Module, torch.compile(precision(network)))


def node_of(part: Any) -> dict[str, Any]:
    """The configuration of an engine or a precision, which hold their constructors' arguments alone."""
    cls = type(part)
    return {"_target_": f"{cls.__module__}.{cls.__qualname__}",
            **{name: getattr(part, name) for name in inspect.signature(cls).parameters}}

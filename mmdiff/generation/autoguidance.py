"""Autoguidance by another run: its model, told the same labels by its own conditioner.

Both models must mean the same by (x_t, t): latents of one codec with one whitening, and one schedule. Labels go by
name, so a weak model may know further classes, or know them in another order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapters.base import Codec
from ..core.denoiser import Denoiser
from ..core.guidance import Autoguidance, Guidance
from ..core.schedules import Schedule, agree
from ..core.types import Condition, Denoise
from ..data.labels import Fields, Label, is_scalar, is_text, kind
from ..model import DiffusionModel
from ..store import load_model


class RunAutoguidance(Guidance):
    """Guide away from ``weak``, a run directory or model file with the same latents and labels: smaller, or earlier.

    ``scale`` 1 is no guidance (Karras et al. 2024). ``base`` is where the model is that ``weak`` is a change of, if it
    has moved.
    """

    def __init__(self, weak: str | Path, *, scale: float = 2.0, base: str | Path | None = None):
        self.weak, self.scale, self.base = weak, scale, base
        self.compared: DiffusionModel | None = None

    @cached_property
    def model(self) -> DiffusionModel:
        """The weak model, read when it is first needed."""
        return load_model(self.weak, base=self.base)[0]

    def bind(
        self, labels: Sequence[Mapping[str, Label]], model: DiffusionModel,
        negative: Sequence[Mapping[str, Label]] = (),
    ) -> Guidance:
        """Raises ``ValueError`` naming what differs where the weak model is no worse version of ``model``."""
        if self.compared is not model:
            if reasons := list(differences(self.model, model)):
                raise ValueError(f"guidance.weak={self.weak} cannot guide this model: {'; '.join(reasons)}")
            self.compared = model
        weak = self.model.to(model.device)
        for row in labels:                                            # it may read less of a text
            weak.conditioner.check({name: value for name, value in row.items() if name not in weak.controls})
        return Autoguidance(weak.denoiser, scale=self.scale, weak_cond=weak.condition(labels))

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        raise TypeError("RunAutoguidance must be told the labels first: call bind(labels, model)")


def differences(weak: DiffusionModel, strong: DiffusionModel) -> Iterator[str]:
    """What keeps two models from seeing the same x_t, t and labels, in words."""
    yield from _schedules(weak.denoiser.schedule, strong.denoiser.schedule)
    yield from _codecs(weak.codec, strong.codec)
    yield from _fields(weak.conditioner.fields, strong.conditioner.fields)
    for name in weak.controls.keys() ^ strong.controls.keys():
        yield f"it {'follows no' if name in strong.controls else 'follows a'} map {name}"


def _schedules(weak: Schedule, strong: Schedule) -> Iterator[str]:
    if not agree(weak, strong):
        yield f"its schedule is {_shown(weak)}, not {_shown(strong)}"


def _codecs(weak: Codec, strong: Codec) -> Iterator[str]:
    if type(weak) is not type(strong):
        yield f"its codec is {type(weak).__name__}, not {type(strong).__name__}"
        return
    mine, other = (_settings(codec) for codec in (weak, strong))
    yield from (f"its codec's {name} is {mine[name]}, not {other[name]}" for name in mine if mine[name] != other[name])
    tensors, others = ({k: v.cpu() for k, v in codec.state_dict().items()} for codec in (weak, strong))
    for name in dict.fromkeys([*tensors, *others]):
        if name.split(".")[0] not in weak.incidental and not _near(tensors.get(name), others.get(name)):
            yield f"its codec's {name} has other values, measured or learned on other data"


def _near(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and torch.allclose(
        a.double(), b.double(), rtol=1e-3, atol=1e-4
    )


def _fields(weak: Fields, strong: Fields) -> Iterator[str]:
    for name in dict.fromkeys([*strong, *weak]):
        if name not in weak or name not in strong:
            yield f"it is {'not ' if name in strong else ''}told {name}"
        elif kind(weak[name]) != kind(strong[name]):
            yield f"{name} is {kind(weak[name])} to it"
        elif is_scalar(weak[name]) or is_text(weak[name]):
            continue
        elif unknown := [c for c in strong[name] if c not in weak[name]]:
            yield f"it has no {name} {', '.join(map(repr, unknown[:5]))}"


def _settings(codec: Codec) -> dict[str, Any]:
    plain = {k: v for k, v in vars(codec).items() if isinstance(v, int | float | str | tuple | dict) or is_dataclass(v)}
    plain = {**codec.reading, **plain}
    return {k: v for k, v in plain.items() if k not in (*codec.incidental, "training") and not k.startswith("_")}


def _shown(schedule: Schedule) -> str:
    settings = ", ".join(f"{k}={_shown(v) if isinstance(v, Schedule) else v}" for k, v in vars(schedule).items())
    return f"{type(schedule).__name__}({settings})"

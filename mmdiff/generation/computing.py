"""A model under an engine and a precision, and what that gains on this machine.

    trial    one step of the pipeline's own sampler's kind and guidance, at the batch and size that are asked for
    engine   the quickest of those that may be taken; what comes out slower than PyTorch in float32 is told
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from ..core.samplers import Euler
from ..engines.base import Eager, Engine, Engines
from ..engines.precision import Float32, Precision
from ..model import DiffusionModel
from .trial import kept, seconds

NOTED = 1.05
"""How much slower than PyTorch in float32 is told."""
Run = Callable[[DiffusionModel], object]
"""One network call, with guidance, of a model."""


class Computing:
    """``model`` computed by ``engines`` in ``precision``; ``key`` names its weights.

    Raises ``ValueError`` where an engine or a precision does not work here, or not with this network.
    """

    def __init__(self, model: DiffusionModel, engines: Engines, precision: Precision, *, key: str):
        if reason := precision.obstacle(model.device):
            raise ValueError(f"precision={precision.name}: {reason}")
        self.plain, self.precision, self.key = model, precision, key
        self.candidates: Sequence[Engine] = engines.here(model.device, precision)
        if not self.candidates:
            raise ValueError(f"no engine computes in {precision.name} here: take engine=eager")
        self.models: dict[str, DiffusionModel] = {}
        self.engine = self.candidates[0]
        self.chosen = len(self.candidates) == 1 and isinstance(self.engine, Eager) and isinstance(precision, Float32)

    @property
    def model(self) -> DiffusionModel:
        """The model with its network as the engine computes it."""
        return self._with(self.engine)

    def _with(self, engine: Engine) -> DiffusionModel:
        if engine.name not in self.models:
            network = engine(self.plain.network, self.precision, key=self.key)
            parts = nn.ModuleDict({"network": network, "conditioner": self.plain.conditioner})
            self.models[engine.name] = self.plain.replaced(parts)
        return self.models[engine.name]

    def choose(self, run: Run, *shape: int) -> None:
        """Choose between the candidates by calls of ``shape``, once, and tell what was found."""
        if self.chosen:
            return
        self.chosen = True
        names = [engine.name for engine in self.candidates]
        if len(names) > 1:
            identity = [*self.identity, shape, [engine.runtime for engine in self.candidates]]
            found, before = kept(identity, names, partial(self._quickest, run))
            self.engine = self.candidates[names.index(found)]
            self.models = {found: self.model}                         # the others take memory
            if before:
                print(f"engine=auto takes {found}, as a trial of the same calls found")
        if not isinstance(self.precision, Float32) or len(names) == 1:
            own, plain = (seconds(partial(run, model), model.device) for model in (self.model, self.plain))
            if own > NOTED * plain:
                print(f"engine={self.engine.name} in {self.precision.name} is slower here than PyTorch in fp32: a "
                      f"network call takes {own:.3g} s, not {plain:.3g} s")

    def _quickest(self, run: Run) -> str:
        device = self.plain.device
        spent = {engine.name: seconds(partial(run, self._with(engine)), device) for engine in self.candidates}
        order = sorted(spent, key=spent.__getitem__)
        print(f"engine=auto takes {order[0]}; a network call takes "
              + ", ".join(f"{name} {spent[name]:.3g} s" for name in order))
        return order[0]

    @property
    def identity(self) -> list[str]:
        """What a trial is of, besides the shape of a call."""
        return [self.key, self.precision.name, str(self.plain.device)]


def weights_key(header: dict[str, Any]) -> str:
    """What names the weights of a model with the changes that were added to it."""
    identity = json.dumps([header["sha256"], header.get("lora", [])], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()


def one_call() -> Euler:
    """The sampler of a trial."""
    return Euler(1)

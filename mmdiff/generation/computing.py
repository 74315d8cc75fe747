"""A model under an engine and a precision, and what that gains on this machine.

    trial    one step of the pipeline's own sampler's kind and guidance, at the batch and size that are asked for
    engine   the quickest of those that may be taken; what comes out slower than PyTorch in float32 is told
"""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..core.samplers import Euler
from ..data.cached import cache_folder, keep
from ..engines.base import Eager, Engine, Engines
from ..engines.precision import Float32, Precision
from ..model import DiffusionModel

TRIES = 5
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
        choice = len(names) > 1
        machine = [platform.processor() or platform.machine(), torch.get_num_threads(), str(self.plain.device)]
        identity = [self.key, self.precision.name, shape, [engine.runtime for engine in self.candidates], machine]
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        path = cache_folder() / "engines" / f"{name}.txt"
        if choice and path.is_file() and (kept := path.read_text(encoding="utf-8")) in names:
            self.engine = self.candidates[names.index(kept)]
            print(f"engine=auto takes {kept}, as a trial of the same calls found")
            return
        seconds = {engine.name: _timed(run, self._with(engine)) for engine in self.candidates}
        self.engine = self.candidates[min(range(len(names)), key=lambda i: seconds[names[i]])]
        self.models = {self.engine.name: self.model}                  # the others take memory
        if choice:
            costs = ", ".join(f"{one} {s:.3g} s" for one, s in sorted(seconds.items(), key=lambda item: item[1]))
            print(f"engine=auto takes {self.engine.name}; a network call takes {costs}")
            keep(path, lambda file: file.write(self.engine.name.encode()))
        if not isinstance(self.precision, Float32) or not choice:
            chosen, plain = seconds[self.engine.name], _timed(run, self.plain)
            if chosen > NOTED * plain:
                print(f"engine={self.engine.name} in {self.precision.name} is slower here than PyTorch in fp32: a "
                      f"network call takes {chosen:.3g} s, not {plain:.3g} s")


def weights_key(header: dict[str, Any]) -> str:
    """What names the weights of a model with the changes that were added to it."""
    identity = json.dumps([header["sha256"], header.get("lora", [])], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()


def one_call() -> Euler:
    """The sampler of a trial."""
    return Euler(1)


def _timed(run: Run, model: DiffusionModel) -> float:
    """Seconds, after a first call that may compile: the least of some, as what else a machine does only adds to it."""
    run(model)
    spent = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        run(model)
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - begun)
    return min(spent)

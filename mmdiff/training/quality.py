"""What a model is worth while it trains, and when to stop: ``quality/*`` in the log, and early stopping.

    stop when the monitored value has not been below its best for ``patience`` evaluations in a row

Where a run may stop so, its model file is that of the best value so far; its checkpoints are of its last steps.

Samples of the averaged weights are judged as ``mmdiff eval`` judges them, with fewer samples. ``quality/nearest``
falling below 1 while ``val/loss`` rises is a model that learns its training set by heart.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import lightning as L

from ..config.build import ConfigError
from ..config.files import MODEL_FILE
from ..data.dataset import Dataset, spread
from ..evaluation.bench import Evaluator
from ..evaluation.embedders.embedder import load_embedder
from ..evaluation.evaluated import EvaluatedRun
from ..evaluation.protocol import Protocol
from ..evaluation.scorer import LEAST
from ..generation.pipeline import Pipeline
from ..learner import Learner
from ..metrics.bootstrap import Interval
from ..model import DiffusionModel
from ..store import save_model
from .alone import alone
from .callbacks import Every, Validation
from .metrics import log
from .module import TrainingModule

LOSS, DISTANCE = "val/loss", "FD"


class Quality(Every):
    """Judges ``n`` samples every ``every`` steps (0 = never) against ``references`` training samples.

    ``monitor`` is ``FD`` or ``val/loss`` (as validated last); ``patience`` None never stops. An ``embedder`` that is
    not named is trained when first needed and kept in ``run/quality``.
    """

    def __init__(
        self, run: Path, stored: dict[str, Any], train: Dataset, held_out: Dataset, validation: Validation, *,
        every: int = 0, n: int = 64, references: int = 256, embedder: str | None = None, monitor: str = DISTANCE,
        patience: int | None = None, bases: Sequence[dict[str, Any]] = (), save: Callable[..., str] = save_model,
    ):
        super().__init__(every)
        if monitor not in (LOSS, DISTANCE):
            raise ValueError(f"quality.monitor is {DISTANCE} or {LOSS}, got {monitor!r}")
        if patience is not None and patience < 1:
            raise ValueError(f"quality.patience is at least 1, or null to go on to the end; got {patience}")
        if min(n, references) < LEAST:
            raise ValueError(f"quality.n and quality.references are {LEAST} at least, got {n} and {references}")
        if every and monitor == LOSS and patience and not validation.steps:
            raise ValueError("quality.monitor=val/loss needs validation.every")
        self.run, self.stored, self.train, self.held_out, self.validation = run, stored, train, held_out, validation
        self.monitor, self.patience, self.embedder = monitor, patience, embedder
        self.n, self.references, self.bases, self.save = n, references, list(bases), save
        self.bench: Evaluator | None = None
        self.best, self.waited = float("inf"), 0
        self.best_step: int | None = None
        """The step of the model file, where stopping early chooses it."""

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        codec = cast(TrainingModule, module).model.codec.modality
        if self.steps and not self.judges and not (self.monitor == LOSS and self.patience and len(self.held_out)):
            raise ConfigError(f"quality.every needs {LEAST} held-out samples, loader.val holds {len(self.held_out)}; "
                              "of fewer quality.monitor=val/loss with quality.patience stops by their loss alone")
        if self.steps and self.judges:
            shown, judge = [self.held_out.read(i)[0] for i in spread(len(self.held_out), self.n)], codec.judge()
            try:
                judge.stacked(shown, codec, self.stored["size"])
            except ValueError as error:
                raise ConfigError(f"quality.every={self.steps}: {error}") from None
            if self.embedder is not None:                             # a mistake in it is told before the training
                settings = judge.settings(codec)
                load_embedder(Path(self.embedder), judge=judge, settings=settings)

    @property
    def judges(self) -> bool:
        """Whether there are held-out samples enough to judge what is made beside them."""
        return len(self.held_out) >= LEAST

    def state_dict(self) -> dict[str, Any]:
        """What a continued run has to know."""
        return {"best": self.best, "waited": self.waited, "best_step": self.best_step,
                "measure": self.measure}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["measure"] != self.measure:                     # the best of another measure is no best of this
            return
        self.best, self.waited = state_dict["best"], state_dict["waited"]
        self.best_step = state_dict["best_step"] if self.patience else None

    @property
    def stopped(self) -> str | None:
        """Why the run is to stop early, if it is."""
        if self.patience is None or self.waited < self.patience:
            return None
        found = f"model.safetensors is that of step {self.best_step}" if self.best_step else "none was finite"
        return f"{self.monitor} has not been below its best, {self.best:.4g}, for {self.waited} judgements: {found}"

    @property
    def measure(self) -> list[Any]:
        """What the monitored value is a value of."""
        if self.monitor == LOSS:
            return [self.monitor, self.validation.loading.val_samples]
        return [self.monitor, self.n, self.references, self.embedder]

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        values, model = {}, module.averaged.eval()                    # of all processes, where weights are sharded
        with alone(trainer) as working:
            if working and self.judges:
                try:
                    pipeline = Pipeline(cast(DiffusionModel, model), {"config": self.stored, "sha256": None})
                    values = self._judged(pipeline, trainer.precision_plugin.val_step_context)
                except Exception as error:                            # the run is worth more than what it is worth
                    warnings.warn(f"step {step} is not judged: {error or type(error).__name__}", stacklevel=2)
                log(trainer, {f"quality/{name}": value for name, value in values.items()}, step)
        module.model.train()
        values = trainer.strategy.broadcast(values)
        distance = next((value for name, value in values.items() if name.startswith(DISTANCE)), float("inf"))
        value = distance if self.monitor == DISTANCE else self.validation.value
        if value is not None:
            better = value < self.best
            self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
            if better and self.patience is not None:
                self._keep(trainer, module.averaged, step)
        trainer.should_stop = trainer.should_stop or self.stopped is not None

    def _keep(self, trainer: L.Trainer, model: Learner, step: int) -> None:
        self.best_step = step
        with alone(trainer) as working:
            if working:
                best = {self.monitor: self.best}
                self.save(model, self.stored, self.run / MODEL_FILE, step=step, bases=self.bases, best=best)

    def _judged(
        self, pipeline: Pipeline, context: Callable[[], AbstractContextManager[None]]
    ) -> dict[str, float]:
        """Numbers of samples that are made in the ``context`` of the training."""
        if self.bench is None:
            embedder = None if self.embedder is None else Path(self.embedder)
            evaluated = EvaluatedRun(pipeline, self.train, self.held_out)
            judge = pipeline.model.codec.judge()
            protocol = Protocol("quality", judge, n=self.n, references=self.references, draws=2)
            self.bench = Evaluator(evaluated, protocol, self.run / "quality", embedder=embedder)
        with context():
            generated = self.bench.drawn(pipeline)
        row = self.bench.scorer.row(self.bench.scorer.measure(generated.x, generated.truth(self.bench.known)))
        return {name: value.value for name, value in row.items() if isinstance(value, Interval)}

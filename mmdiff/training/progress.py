"""The training log and the progress bar."""

import math
from typing import Any, cast

import lightning as L
from tqdm import tqdm

from ..data.progress import progress_bar
from .callbacks import Every
from .metrics import log
from .module import TrainingModule


class TrainingLog(Every):
    """What the module tells of a step, every n steps: ``loss``, ``grad_norm`` and ``lr``."""

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        log(trainer, module.metrics, step)


class Progress(L.Callback):
    """One line: step, loss, samples/s, time left, and the step of the next preview."""

    def __init__(self, preview_every: int):
        self.preview_every = preview_every
        self.loss: float | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.bar: tqdm = progress_bar(
            total=trainer.max_steps, initial=trainer.global_step, unit="step", mininterval=0.5,
            disable=not trainer.is_global_zero, dynamic_ncols=True,
            bar_format="{desc}{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        module = cast(TrainingModule, module)
        new = trainer.global_step - self.bar.n
        if not new or not self.bar.update(new) or not module.metrics:
            return
        loss = module.metrics["loss"]                                 # of the step before, which is known by now
        self.loss = loss if self.loss is None else 0.9 * self.loss + 0.1 * loss
        rate = (self.bar.format_dict["rate"] or 0) * module.order.step(trainer.global_step - 1).size
        left = self.preview_every - trainer.global_step % self.preview_every if self.preview_every else math.inf
        preview = f", next preview in {left} steps" if left <= trainer.max_steps - trainer.global_step else ""
        self.bar.set_description_str(f"loss {self.loss:.4f} ", refresh=False)
        self.bar.set_postfix_str(f"{rate:.0f} samples/s{preview}", refresh=False)

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if hasattr(self, "bar"):
            self.bar.close()

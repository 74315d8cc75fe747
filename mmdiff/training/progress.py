"""The training log and the progress bar."""

import math
from typing import Any

import lightning as L
import torch
from tqdm import tqdm

from .callbacks import Every
from .module import TrainingModule


class TrainingLog(Every):
    """``loss`` (mean over the global batch of that step) and ``lr``, every n steps."""

    def on_train_batch_end(self, trainer: L.Trainer, module: TrainingModule, outputs: Any, *args: Any) -> None:
        self._parts = [*getattr(self, "_parts", []), outputs["loss"].detach()]
        super().on_train_batch_end(trainer, module)
        if trainer.global_step == self._done and len(self._parts) >= trainer.accumulate_grad_batches:
            self._parts = []

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        # Lightning has divided each part by the number of accumulated batches
        loss = trainer.strategy.reduce(torch.stack(self._parts).sum(), reduce_op="mean")
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        for logger in trainer.loggers:
            logger.log_metrics({"loss": loss.item(), "lr": lr}, step=step)


class Progress(L.Callback):
    """One line: step, loss, samples/s, time left, and the step of the next preview."""

    def __init__(self, preview_every: int):
        self.preview_every = preview_every
        self.loss: float | None = None

    def on_train_start(self, trainer: L.Trainer, module: TrainingModule) -> None:
        self.bar = tqdm(
            total=trainer.max_steps, initial=trainer.global_step, unit="step", mininterval=0.5,
            disable=not trainer.is_global_zero, dynamic_ncols=True,
            bar_format="{desc}{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, module: TrainingModule, outputs: Any, *args: Any
    ) -> None:
        new = trainer.global_step - self.bar.n
        if not new or not self.bar.update(new):
            return
        loss = outputs["loss"].item() * trainer.accumulate_grad_batches
        self.loss = loss if self.loss is None else 0.9 * self.loss + 0.1 * loss
        rate = (self.bar.format_dict["rate"] or 0) * module.order.step(trainer.global_step - 1).size
        left = self.preview_every - trainer.global_step % self.preview_every if self.preview_every else math.inf
        preview = f", next preview in {left} steps" if left <= self.bar.total - trainer.global_step else ""
        self.bar.set_description_str(f"loss {self.loss:.4f} ", refresh=False)
        self.bar.set_postfix_str(f"{rate:.0f} samples/s{preview}", refresh=False)

    def teardown(self, trainer: L.Trainer, module: TrainingModule, stage: str) -> None:
        if hasattr(self, "bar"):
            self.bar.close()

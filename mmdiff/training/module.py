"""The Lightning module: it says what a step is, and nothing about diffusion.

    losses of all micro-batches, gradient  ->  finite?  ->  clip  ->  optimizer  ->  averages  ->  lr_schedule

Nothing that is not finite goes past the second arrow: neither weights nor moments nor averages ever hold it.
"""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.loaders import Loading, train_loader
from ..model import DiffusionModel
from .ema import Ema
from .optim import Recipe, impose, settings
from .sharded import gathered, outline, shard


class TrainingModule(L.LightningModule):
    """Trains a model on a data set; ``ema`` maps names of tracks to their settings, and the first track is used."""

    told: dict[str, float]
    """Of the step just taken: ``loss`` (mean over its samples), ``grad_norm`` (before it is clipped) and ``lr``."""
    settled: int
    """The step that weights, moments, averages and lr_schedule are all of; -1 while they are changed."""

    def __init__(
        self, model: DiffusionModel, dataset: Dataset, *, optim: Recipe, loading: Loading,
        ema: dict[str, dict[str, float]], seed: int, max_steps: int,
    ):
        super().__init__()
        if not ema:
            raise ValueError("ema needs at least one track: validation, previews and the exported model use the first")
        self.model, self.dataset, self.optim, self.loading = model, dataset, optim, loading
        self.seed, self.max_steps = seed, max_steps
        self.ema = nn.ModuleDict({name: Ema(model.trainable, **settings) for name, settings in ema.items()})
        self.told, self.settled = {}, -1
        self._parts: list[tuple[Tensor, Tensor]] = []                 # draws and losses of this step's micro-batches

    @property
    def averaged(self) -> DiffusionModel:
        """The model with the weights of the first EMA track, whole: where they are sharded, all processes must ask."""
        average = next(iter(self.ema.values())).average
        return self.model.replaced(average if self.device_mesh is None else gathered(average, self._outline))

    def configure_model(self) -> None:
        """Shard what is trained and its averages, where the strategy is to."""
        if self.device_mesh is None:
            return
        mesh = self.device_mesh["data_parallel"]
        self.__dict__["_outline"] = outline(next(iter(self.ema.values())).average)     # no part of the module
        for part in (self.model.trainable, *(track.average for track in self.ema.values())):
            shard(part, mesh)

    def train_dataloader(self) -> DataLoader:
        self.order = self.loading.order(
            self.dataset, seed=self.seed, steps=self.max_steps, start=self.global_step, rank=self.global_rank,
            world=self.trainer.world_size, accumulate=self.trainer.accumulate_grad_batches,
        )
        return train_loader(
            self.dataset, self.order, workers=self.loading.workers, pin_memory=self.device.type == "cuda",
            coupling=self.model.coupling,
        )

    def on_train_start(self) -> None:
        """What is configured is in force, whatever a checkpoint says: of that the moments stay."""
        impose(self._asked, self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler)
        self.settled = self.global_step

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        if index % self.trainer.accumulate_grad_batches == 0:
            self._parts = []

    def training_step(self, batch: Batch, index: int) -> Tensor:
        losses = self.model.loss(batch, self.seed, batch_size=self.order.step(self.global_step).size)
        self._parts.append((batch.draws, losses.detach()))
        return losses.mean()

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args, **kwargs) -> None:
        """Tell of the step, with one wait for the device; refuse it where it is not finite; clip its gradient."""
        self.settled = -1
        gradients = [p.grad for p in self.model.trainable.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        whole_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        loss = torch.stack([losses.mean() for _, losses in self._parts]).mean()
        both = torch.stack([loss.float(), whole_norm.float().to(loss.device)])
        loss, size = self.trainer.strategy.reduce(both, reduce_op="mean").tolist()    # all processes judge alike
        self.told = {"loss": loss, "grad_norm": size, "lr": optimizer.param_groups[0]["lr"]}
        self._refuse(loss, size)
        if self.optim.clip:
            nn.utils.clip_grads_with_norm_(self.model.trainable.parameters(), self.optim.clip, norm)

    def _refuse(self, loss: float, size: float) -> None:
        """Raise ``FloatingPointError`` where the step would leave something that is not finite."""
        if not math.isfinite(loss):
            bad = [draw for draws, losses in self._parts for draw in draws[~losses.isfinite().cpu()].tolist()]
            names = ", ".join(self.dataset.name(self.order.index(draw)) for draw in bad[:5])
            raise FloatingPointError(f"the loss is not finite at step {self.global_step + 1}"
                                     + (f", for {names}" if names else ""))
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if not math.isfinite(size) and scaler is not None and scaler.get_scale() > 1:
            return                                                    # fp16: the scaler skips this step and scales less
        greatest = size if self.optim.clip == 0 else min(size, self.optim.clip)
        if not math.isfinite(size) or greatest > torch.finfo(torch.float32).max ** 0.5:    # moments hold its square
            raise FloatingPointError(
                f"the gradient is not finite at step {self.global_step + 1} (norm {size:g}, loss {loss:g}); a lower "
                "optim.lr, a longer optim.warmup or optim.clip may help"
            )

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        step = self.order.step(self.global_step)                      # Lightning counts the step after this hook
        for track in self.ema.values():
            track.update(self.model.trainable, seen=step.draw + step.size, batch=step.size)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        super().lr_scheduler_step(scheduler, metric)
        self.settled = self.global_step

    def finite(self) -> bool:
        """Whether all that a checkpoint would hold is finite, on all processes (which must all ask)."""
        return math.isfinite(self.trainer.strategy.reduce(self.greatest(), reduce_op="mean").item())

    def greatest(self) -> Tensor:
        """A number that is finite where all that this process has of a checkpoint is."""
        moments = [v for state in self.trainer.optimizers[0].state.values() for v in state.values()]
        tensors = [t.to_local() if isinstance(t, DTensor) else t for t in (*self.parameters(), *moments)
                   if isinstance(t, Tensor) and t.is_floating_point()]
        greatest = [torch.linalg.vector_norm(t.detach(), math.inf).to(self.device, torch.float32) for t in tensors
                    if t.numel()]
        return torch.stack(greatest).sum()

    def configure_optimizers(self) -> dict:
        fused = getattr(self.trainer.precision_plugin, "scaler", None) is None    # fp16 unscales before it clips
        optimizer, schedule = self.optim(self.model, steps=self.max_steps, fused=fused)
        self._asked = settings(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the loop behind the last batch of the step, wherever it was when the run was saved; what
        ``trainer.max_time`` allows is counted anew from each start."""
        done = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        counts = {"ready": done, "started": done, "processed": done, "completed": done - 1}
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        progress.update(total=dict(counts), current=dict(counts), is_last_batch=False)
        checkpoint["callbacks"].pop("Timer", None)

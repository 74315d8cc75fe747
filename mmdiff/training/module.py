"""The Lightning module: it says what a step is, and nothing about diffusion."""

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.loaders import Loading, train_loader
from ..model import DiffusionModel
from .ema import Ema
from .optim import Recipe
from .sharded import outline, shard, whole


class TrainingModule(L.LightningModule):
    """Trains a model on a data set; ``ema`` maps names of tracks to their settings, and the first track is used."""

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

    @property
    def averaged(self) -> DiffusionModel:
        """The model with the weights of the first EMA track, whole: where they are sharded, all processes must ask."""
        average = next(iter(self.ema.values())).average
        return self.model.replaced(average if self.device_mesh is None else whole(average, self._outline))

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

    def training_step(self, batch: Batch, index: int) -> Tensor:
        losses = self.model.loss(batch, self.seed, batch_size=self.order.step(self.global_step).size)
        if not torch.isfinite(losses).all():
            bad = batch.draws[~torch.isfinite(losses)].tolist()
            names = [self.dataset.name(self.order.index(draw)) for draw in bad[:5]]
            raise FloatingPointError(f"the loss is not finite at step {self.global_step}, for {', '.join(names)}")
        return losses.mean()

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        step = self.order.step(self.global_step)                      # Lightning counts the step after this hook
        for track in self.ema.values():
            track.update(self.model.trainable, seen=step.draw + step.size, batch=step.size)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args, **kwargs) -> None:
        if self.optim.clip:
            nn.utils.clip_grad_norm_(self.model.trainable.parameters(), self.optim.clip)

    def configure_optimizers(self) -> dict:
        fused = getattr(self.trainer.precision_plugin, "scaler", None) is None    # fp16 unscales before it clips
        optimizer, schedule = self.optim(self.model, steps=self.max_steps, fused=fused)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

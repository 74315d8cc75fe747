"""The Lightning module: one optimizer step, from a batch to the averaged weights.

    losses of the batch, gradient  ->  finite?  ->  clip  ->  optimizer  ->  averages  ->  learning rate

What is trained (a ``Learner``) says what its loss is (``DiffusionModel.loss``: x_t, network, target). Nothing that is
not finite goes past the second arrow: neither weights nor moments nor averages ever hold it. The device sees to that by
itself and never waits for the host: what is random comes with the batch, and that a step was not taken is told one
step later, or before anything is done with what came of it.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.loaders import Loading, train_loader
from ..learner import Learner
from ..nn.frozen import frozen_tensors
from ..nn.tensors import outlined
from .ema import Ema
from .late import Late
from .learning import leave_out, unlearned
from .muon import CombinedOptimizer
from .optim import AdamW, Recipe, impose, settings, skip_unless
from .sharded import gathered, public, shard

LARGEST = torch.finfo(torch.float32).max ** 0.5
"""The greatest gradient whose square there is."""


class Taken(NamedTuple):
    """A step, and what the device has found of it and not told yet."""

    step: int
    names: list[str]
    """Of the ``values``: numbers that are logged."""
    values: Late
    losses: Tensor
    draws: Tensor
    scale: float
    """By which fp16 has gradients too large."""
    lr: float


class TrainingModule(L.LightningModule):
    """Trains a model on a data set; ``ema`` maps names of tracks to their settings, and the first track is used.
    ``matmul`` is torch's ``float32_matmul_precision``, that of the process while it trains."""

    metrics: dict[str, float]
    """Of the newest step that is settled: ``loss`` (mean over its samples), ``grad_norm`` (before clipping), ``lr``."""
    _outline: nn.ModuleDict
    full_step: int
    """The step that weights, moments, averages and learning rate are all of; -1 while they are changed."""

    def __init__(
        self, model: Learner, dataset: Dataset, *, optim: Recipe, loading: Loading,
        ema: dict[str, dict[str, float]], seed: int, max_steps: int, accumulate: int = 1, matmul: str = "high",
    ):
        super().__init__()
        if not ema:
            raise ValueError("ema needs at least one track: validation, previews and the exported model use the first")
        if accumulate < 1:
            raise ValueError(f"a step is taken in 1 or more parts, got accumulate_grad_batches={accumulate}")
        self.automatic_optimization = False                           # training_step is the whole step
        self.model, self.dataset, self.optim, self.loading = model, dataset, optim, loading
        self.seed, self.max_steps, self.accumulate, self.matmul = seed, max_steps, accumulate, matmul
        self.ema = nn.ModuleDict({name: Ema(model.trainable, **settings) for name, settings in ema.items()})
        self.metrics, self.full_step = {}, -1
        self._taken: Taken | None = None
        leave_out(self, unlearned(model, self))
        self.strict_loading = False                                   # names are compared before: see continuing.fits

    @property
    def tracks(self) -> list[Ema]:
        """The averages, the one that is used first."""
        return [track for track in self.ema.values() if isinstance(track, Ema)]

    @property
    def averaged(self) -> Learner:
        """The model with the weights of the first EMA track, whole: where they are sharded, all processes must ask."""
        average = self.tracks[0].average
        return self.model.replaced(average if self.device_mesh is None else gathered(average, self._outline))

    def configure_model(self) -> None:
        """Shard what is trained and its averages, where the strategy is to."""
        if self.device_mesh is None:
            return
        if self.model.against is not None:
            raise ValueError("adversary= is not sharded over processes: take trainer=ddp, or leave it out")
        mesh = self.device_mesh["data_parallel"]
        average = self.tracks[0].average
        shared = [*frozen_tensors(average).values(), *average.buffers()]
        self.__dict__["_outline"] = outlined(average, shared=shared)     # filled by gathered(); no part of it
        for track in self.tracks:
            shard(track.average, mesh, unsharded=public(track.average))
        shard(self.model.trainable, mesh)

    def train_dataloader(self) -> DataLoader:
        self.order = self.loading.order(
            self.dataset, seed=self.seed, steps=self.max_steps, start=self.global_step, rank=self.global_rank,
            world=self.trainer.world_size, accumulate=self.accumulate,
        )
        return train_loader(
            self.dataset, self.order, workers=self.loading.workers, pin_memory=self.device.type == "cuda",
            draw=self.model.draw, tags=self.loading.tags,
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """All but the draws, which are keys and stay on the host."""
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved._replace(draws=batch.draws)

    def on_fit_start(self) -> None:
        torch.set_float32_matmul_precision(self.matmul)

    def on_train_start(self) -> None:
        """What is configured is in force, whatever a checkpoint says: of that the moments stay."""
        impose(self._asked, self.trainer.optimizers[0], self._schedule)
        self.full_step = self.global_step

    def training_step(self, batch: Batch, index: int) -> None:
        """One optimizer step; its samples are computed in as many parts as ``accumulate``, for memory."""
        model, step = self.model, self.order.step(self.global_step)
        optimizer = cast(LightningOptimizer, self.optimizers())
        losses, beside = [], []
        for part in batch.split(self.accumulate):
            loss, more = model.losses(part, self.seed, batch_size=step.size)           # (B / accumulate,)
            losses.append(loss.detach())
            beside.append({name: value.detach().mean() / self.accumulate for name, value in more.items()})
            with torch.autocast(self.device.type, enabled=False), self._kept_local(len(losses) < self.accumulate):
                self.manual_backward((loss + more.get("critic_loss", 0)).mean() / self.accumulate)
        with torch.autocast(self.device.type, enabled=False):
            norm = self._checked(torch.cat(losses), beside, batch.draws, optimizer)
            if self.optim.clip:
                nn.utils.clip_grads_with_norm_(model.trainable.parameters(), self.optim.clip, norm)
            self.full_step = -1
            optimizer.step()
            optimizer.zero_grad()
            for track in self.tracks:
                track.update(model.trainable, seen=step.draw + step.size, batch=step.size)
            self._schedule.step()
        self.full_step = self.global_step

    @property
    def _schedule(self) -> LambdaLR:
        return cast(LambdaLR, self.trainer.lr_scheduler_configs[0].scheduler)     # as configure_optimizers gives it

    def _kept_local(self, wanted: bool) -> AbstractContextManager[None]:
        """Gradients of all but the last part of a step stay with their process, where the strategy knows how."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if wanted and isinstance(strategy, ParallelStrategy) else nullcontext()

    def _checked(
        self, losses: Tensor, beside: list[dict[str, Tensor]], draws: Tensor, optimizer: LightningOptimizer
    ) -> Tensor:
        """The gradient's norm, of all processes. A step that would leave something that is not finite is not taken,
        by no process, and told when it is settled."""
        scaler, strategy = getattr(self.trainer.precision_plugin, "scaler", None), self.trainer.strategy
        scale = 1.0 if scaler is None else scaler.get_scale()         # fp16: by which gradients are too large here
        gradients = [p.grad for p in self.model.trainable.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients) / scale
        norm_value = norm.full_tensor() if isinstance(norm, DTensor) else norm
        found = {"loss": losses.mean(), "grad_norm": norm_value}
        if (critic := self.model.against) is not None:                # the balance of codec and critic is logged too
            found |= {name: torch.stack([part[name] for part in beside]).sum() for name in beside[0]}
            found["adversary_grad_norm"] = nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        values = strategy.reduce(torch.stack([v.float().to(losses.device) for v in found.values()]), reduce_op="mean")
        assert isinstance(values, Tensor)
        if scaler is None:
            skip_unless(optimizer.optimizer, self._fine(values))
        taken = Taken(self.global_step + 1, list(found), Late(values), losses, draws, scale,
                      lr=optimizer.param_groups[0]["lr"])
        self._settle(self._taken)
        self._taken = taken
        return norm

    def _fine(self, values: Tensor) -> Tensor:
        """Whether all ``values`` are finite, and the gradient such that moments, which hold its square, are."""
        size = values[1].clamp(max=self.optim.clip) if self.optim.clip else values[1]
        return values.isfinite().all() & (size <= LARGEST)

    def settle(self) -> None:
        """Wait for the step just taken: ``metrics`` are then of it. Raises ``FloatingPointError``, in all processes,
        where it was not to be taken."""
        taken, self._taken = self._taken, None
        self._settle(taken)

    def _settle(self, taken: "Taken | None") -> None:
        if taken is None:
            return
        values = dict(zip(taken.names, taken.values.read(), strict=True))
        self.metrics, (loss, size) = {**values, "lr": taken.lr}, (values["loss"], values["grad_norm"])
        if not math.isfinite(loss):
            bad = taken.draws[~taken.losses.isfinite().cpu()].tolist()
            names = ", ".join(self.dataset.name(self.order.index(draw)) for draw in bad[:5])
            raise FloatingPointError(f"the loss is not finite at step {taken.step}"
                                     + (f", for {names}" if names else ""))
        if not math.isfinite(size) and taken.scale > 1:
            return                                                    # the scaler skips this step and scales less
        greatest = size if self.optim.clip == 0 else min(size, self.optim.clip)
        if not math.isfinite(size) or greatest > LARGEST:
            raise FloatingPointError(
                f"the gradient is not finite at step {taken.step} (norm {size:g}, loss {loss:g}); a lower "
                "optim.lr, a longer optim.warmup or optim.clip may help"
            )
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(f"the adversary is not finite at step {taken.step}: a lower "
                                     "adversary.lr or adversary.weight, or a later adversary.start may help")

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

    def configure_optimizers(self) -> OptimizerLRScheduler:
        fused = getattr(self.trainer.precision_plugin, "scaler", None) is None    # fp16 unscales before it steps
        optimizer, schedule = self.optim(self.model.trainable, steps=self.max_steps, fused=fused)
        if (critic := self.model.against) is not None:
            mine = AdamW(lr=critic.lr, betas=(0.5, 0.99), weight_decay=0.0, warmup=1, decay="constant")
            other, main = mine(critic, steps=self.max_steps, fused=fused)
            factors = [*schedule.lr_lambdas, *main.lr_lambdas]
            optimizer = CombinedOptimizer(optimizer, other)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            schedule = LambdaLR(optimizer, factors)
        self._asked = settings(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the loop behind the step, wherever it was when the run was saved; what ``trainer.max_time`` allows is
        counted anew from each start."""
        done = checkpoint["global_step"]
        counts = {"ready": done, "started": done, "processed": done, "completed": done - 1}
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        progress.update(total=dict(counts), current=dict(counts), is_last_batch=False)
        checkpoint["callbacks"].pop("Timer", None)

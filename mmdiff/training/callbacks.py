"""What happens every n optimizer steps: validation, previews, checkpoints. In this order, so that a checkpoint at a
step comes after all else of that step, and a resumed run neither repeats nor misses anything."""

import signal
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_info

from ..checkpoint import MODEL_FILE, save_model, write_atomic
from ..data.dataset import Dataset
from ..data.loaders import Loading, eval_loader
from .checkpoints import checkpoint_path, prune
from .module import TrainingModule
from .previews import PreviewMaker


class Every(L.Callback):
    """Calls ``act`` after every ``steps`` optimizer steps (0 = never), once a step however many batches it has."""

    def __init__(self, steps: int):
        self.steps, self._done = steps, -1

    def on_train_start(self, trainer: L.Trainer, module: TrainingModule) -> None:
        self._done = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, module: TrainingModule, *args: Any) -> None:
        step = trainer.global_step
        if step != self._done and self.due(trainer, step):
            self.act(trainer, module, step)
        self._done = step

    def due(self, trainer: L.Trainer, step: int) -> bool:
        """Whether to act after this step."""
        return bool(self.steps) and (step % self.steps == 0 or step == trainer.max_steps)

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """What is done."""


class Records(L.Callback):
    """Files that describe a run, written once all its processes have met: until then none of them knows of it."""

    def __init__(self, run: Path, files: dict[str, str]):
        self.run, self.files = run, files

    def on_fit_start(self, trainer: L.Trainer, module: TrainingModule) -> None:
        if trainer.is_global_zero:
            for name, text in self.files.items():
                write_atomic(self.run / name, text.encode())


class Validation(Every):
    """Held-out loss of the averaged weights, noise and times fixed: ``val/loss``, and ``val/loss_q*`` by t."""

    def __init__(self, steps: int, dataset: Dataset, loading: Loading, *, quantiles: int = 8):
        super().__init__(steps)
        self.dataset, self.loading, self.quantiles = dataset, loading, quantiles
        self.value: float | None = None

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        total = torch.zeros(self.quantiles + 1, dtype=torch.float64, device=module.device)
        model = module.averaged.eval()
        size = max(1, self.loading.batch_size // trainer.world_size)
        loader = eval_loader(
            self.dataset, size, limit=self.loading.val_samples, rank=trainer.global_rank, world=trainer.world_size
        )
        for batch in loader:
            batch = trainer.strategy.batch_to_device(batch, module.device)
            with trainer.precision_plugin.val_step_context():
                losses = model.validation_loss(batch, self.quantiles)
            total[:-1] += losses.double().sum(0)
            total[-1] += len(losses)
        module.model.train()
        total = trainer.strategy.reduce(total, reduce_op="sum")
        bins = (total[:-1] / total[-1]).tolist()
        values = {f"val/loss_q{i}": value for i, value in enumerate(bins)}
        self.value = sum(bins) / len(bins)
        for logger in trainer.loggers:
            logger.log_metrics({"val/loss": self.value, **values}, step=step)


class Previews(Every):
    """Samples of the averaged weights, written to ``previews/step-*``."""

    def __init__(self, steps: int, folder: Path, make: PreviewMaker):
        super().__init__(steps)
        self.folder, self.make = folder, make

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        model = module.averaged.eval()                                # of all processes, where weights are sharded
        if trainer.is_global_zero:
            try:
                picture = self.make(model, self.folder / f"step-{step:09d}")
            except FloatingPointError as error:                       # the run is worth more than its preview
                warnings.warn(f"no preview of step {step}: {error}", stacklevel=2)
            else:
                for logger in trainer.loggers:
                    if isinstance(logger, L.pytorch.loggers.TensorBoardLogger):
                        import matplotlib.image

                        image = matplotlib.image.imread(picture)
                        logger.experiment.add_image("preview", image, step, dataformats="HWC")
            module.model.train()
        trainer.strategy.barrier()


class Checkpoints(Every):
    """Saves the state to resume from and the model to generate with; also at a signal, and at the end.

    Ctrl-C, SIGTERM and SIGUSR1 (SLURM's warning) let the step finish, save, and stop the run, whichever process gets
    them; a second one stops it at once.
    """

    def __init__(self, steps: int, run: Path, config: dict[str, Any], *, keep: int = 2):
        super().__init__(steps)
        self.run, self.config, self.keep = run, config, keep
        self.signal, self._received = 0, 0                            # what all processes know of, and this one

    def on_train_start(self, trainer: L.Trainer, module: TrainingModule) -> None:
        super().on_train_start(trainer, module)
        self._before = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def teardown(self, trainer: L.Trainer, module: TrainingModule, stage: str) -> None:
        for number, handler in getattr(self, "_before", {}).items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = number
        rank_zero_info("\nstopping after this step; press Ctrl-C again to stop at once")

    def due(self, trainer: L.Trainer, step: int) -> bool:
        self.signal = self._received
        if trainer.world_size > 1:
            shared = torch.tensor(self.signal, device=trainer.strategy.root_device)
            self.signal = int(trainer.strategy.reduce(shared, reduce_op="max"))
        trainer.should_stop = trainer.should_stop or self.signal > 0
        return super().due(trainer, step) or trainer.should_stop or step == trainer.max_steps

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        folder, model = self.run / "checkpoints", module.averaged
        if trainer.is_global_zero:                                    # first, as nothing is made anew after the last
            save_model(model, self.config, self.run / MODEL_FILE, step=step)
        trainer.save_checkpoint(checkpoint_path(folder, step))
        if trainer.is_global_zero:
            prune(folder, self.keep)

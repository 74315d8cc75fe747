"""What happens every n optimizer steps: validation and previews here, checkpoints in ``saving``. In this order, so that
a checkpoint at a step comes after all else of that step, and a resumed run neither repeats nor misses anything."""

import warnings
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch

from ..data.dataset import Dataset
from ..data.loaders import Loading, eval_loader
from ..data.writing import write_atomic
from .alone import alone
from .metrics import log
from .module import TrainingModule
from .previews import PreviewMaker


class Every(L.Callback):
    """Calls ``act`` after every ``steps`` optimizer steps (0 = never)."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self.due(trainer, trainer.global_step):
            module = cast(TrainingModule, module)                     # the only one that is trained
            module.settle()                                           # nothing is done with a step that was not taken
            self.act(trainer, module, trainer.global_step)

    def due(self, trainer: L.Trainer, step: int) -> bool:
        """Whether to act after this step."""
        return bool(self.steps) and (step % self.steps == 0 or step == trainer.max_steps)

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """What is done."""


class Records(L.Callback):
    """Files that describe a run, written once it goes on: all its processes have met, and what it goes on from is read.
    """

    def __init__(self, run: Path, files: dict[str, str]):
        self.run, self.files = run, files

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            for name, text in self.files.items():
                write_atomic(self.run / name, text.encode())


class Validation(Every):
    """Held-out loss of the averaged weights, nothing random in it: ``val/loss``, and parts such as ``val/loss_q*``."""

    def __init__(self, steps: int, dataset: Dataset, loading: Loading):
        super().__init__(steps)
        self.dataset, self.loading = dataset, loading
        self.value: float | None = None

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        model = module.averaged.eval()
        total = torch.zeros(len(model.validated) + 1, dtype=torch.float64, device=module.device)
        size = max(1, self.loading.batch_size // trainer.world_size)
        loader = eval_loader(
            self.dataset, size, limit=self.loading.val_samples, rank=trainer.global_rank, world=trainer.world_size
        )
        for batch in loader:
            batch = trainer.strategy.batch_to_device(batch, module.device)
            with trainer.precision_plugin.val_step_context():
                losses = model.validation_loss(batch)
            total[:-1] += losses.double().sum(0)
            total[-1] += len(losses)
        module.model.train()
        total = trainer.strategy.reduce(total, reduce_op="sum")
        values = (total[:-1] / total[-1]).tolist()
        self.value = values[0]
        log(trainer, {f"val/{name}": value for name, value in zip(model.validated, values, strict=True)}, step)


class Previews(Every):
    """Samples of the averaged weights, written to ``previews/step-*``; one that fails is told, and the run goes on."""

    def __init__(self, steps: int, folder: Path, make: PreviewMaker):
        super().__init__(steps)
        self.folder, self.make = folder, make

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        model = module.averaged.eval()                                # of all processes, where weights are sharded
        with alone(trainer) as working:
            if working:
                try:
                    with trainer.precision_plugin.val_step_context():
                        picture = self.make(model, self.folder / f"step-{step:09d}")
                    self._show(trainer, picture, step)
                except Exception as error:                            # whatever it is: disk, memory, a codec's fault
                    warnings.warn(f"no preview of step {step}: {error or type(error).__name__}", stacklevel=2)
        module.model.train()

    def _show(self, trainer: L.Trainer, picture: Path, step: int) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, L.pytorch.loggers.TensorBoardLogger):
                import matplotlib.image

                image = matplotlib.image.imread(picture)
                logger.experiment.add_image("preview", image, step, dataformats="HWC")

"""What is saved of a run, and when: every n steps, at a signal, and whatever ends it.

    model.safetensors  then  checkpoints/step-*.ckpt     of a step that is whole and finite
"""

import math
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_info  # type: ignore[attr-defined]  # not re-exported

from ..config.build import ConfigError
from ..config.files import MODEL_FILE
from ..store import save_model
from .alone import alone
from .callbacks import Every
from .checkpoints import PATTERN, SAVING, checkpoint_path, prune
from .late import Late
from .module import TrainingModule

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Chooser(Protocol):
    """What keeps the model file itself, once there is a ``best_step``: early stopping."""

    best_step: int | None


class Checkpoints(Every, L.pytorch.callbacks.Checkpoint):             # Lightning calls callbacks of this class last
    """Saves the state to resume from and the model to generate with, unless a ``chooser`` keeps the latter.

    Ctrl-C, SIGTERM, SIGUSR1 (SLURM's warning) and SIGHUP (the terminal is gone) let the step finish, and of several
    processes one or two more, save, and stop the run, whichever process gets them; a second one stops it at once. An
    error saves the last step that was whole; where weights are sharded over several processes it cannot, since all
    would have to take part.
    """

    def __init__(
        self, steps: int, run: Path, config: dict[str, Any], *, keep: int = 2, chooser: Chooser | None = None,
        bases: Sequence[dict[str, Any]] = (), save: Callable[..., str] = save_model,
    ):
        super().__init__(steps)
        if keep < 1:
            raise ConfigError(f"checkpoint.keep is at least 1, as a run goes on from its newest checkpoint; got {keep}")
        self.run, self.config, self.keep, self.chooser, self.bases = run, config, keep, chooser, list(bases)
        self.save = save
        self.signal, self._received = 0, 0                            # what all processes know of, and this one
        self._shared: Late | None = None                              # what they are about to know
        self.least = 0
        """No model of an earlier step than this replaces the model file."""
        self.saved = 0
        """The step of the newest checkpoint."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.saved = self._tried = trainer.global_step
        heard = [s for s in SIGNALS if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]    # nohup
        for number in heard:
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = number
        rank_zero_info("\nstopping after this step; press Ctrl-C again to stop at once")

    def due(self, trainer: L.Trainer, step: int) -> bool:
        if trainer.world_size == 1:
            self.signal = self._received
        else:                                                         # read a step late, as nothing waits for it
            own = torch.full((1,), float(self._received), device=trainer.strategy.root_device)
            shared, self._shared = self._shared, Late(trainer.strategy.reduce(own, reduce_op="max"))
            self.signal = 0 if shared is None else int(shared.read()[0])
        trainer.should_stop = trainer.should_stop or self.signal > 0
        return super().due(trainer, step) or trainer.should_stop or step == trainer.max_steps

    def act(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        self._tried = step
        if not module.finite():
            raise FloatingPointError(f"weights, averages or moments are not finite after step {step}: it is not saved")
        model = module.averaged                                       # of all processes, where weights are sharded
        folder = self.run / "checkpoints"
        with alone(trainer) as working:
            if working:
                self._export(model, step, folder)
        trainer.save_checkpoint(checkpoint_path(folder, step))
        self.saved = step
        if trainer.is_global_zero:
            self._settle(folder, step)

    def _export(self, model: Any, step: int, folder: Path) -> None:   # before the checkpoint of its step
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.glob(PATTERN)):
            (folder / SAVING).touch()
        if step >= self.least and (self.chooser is None or self.chooser.best_step is None):
            self.save(model, self.config, self.run / MODEL_FILE, step=step, bases=self.bases)

    def _settle(self, folder: Path, step: int) -> None:               # once the checkpoint of the step is there
        prune(folder, self.keep, step=step)
        (folder / SAVING).unlink(missing_ok=True)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Whatever ended the run without a word."""
        if trainer.global_step not in (self._tried, self.saved):
            cast(TrainingModule, module).settle()
            self.act(trainer, cast(TrainingModule, module), trainer.global_step)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Save what is whole, alone, as the others may be gone; not what may be at fault itself."""
        module = cast(TrainingModule, module)
        step, sharded = trainer.global_step, module.device_mesh is not None and trainer.world_size > 1
        suspect = not isinstance(exception, Exception) or isinstance(exception, FloatingPointError)
        if suspect or sharded or not trainer.is_global_zero or module.full_step != step or step in (0, self._tried):
            return
        self._tried, folder = step, self.run / "checkpoints"
        try:
            module.settle()
            if not math.isfinite(module.greatest().item()):
                return
            state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            self._export(module.averaged, step, folder)
            trainer.strategy.save_checkpoint(state, checkpoint_path(folder, step))
            self.saved = step
            self._settle(folder, step)
        except FloatingPointError:                                    # it was not taken
            return
        except Exception as error:                                    # the first error is the one to tell
            warnings.warn(f"step {step} could not be saved either: {error}", stacklevel=1)

"""Ways to break a process, each set at the start of it: the fault then strikes at one exact instant."""

import errno
import os
import signal
from functools import partial

import torch
from lightning.pytorch.callbacks import Timer

from mmdiff.data import loaders
from mmdiff.model import DiffusionModel
from mmdiff.training.metrics import MetricsCsv
from mmdiff.training.previews import PreviewMaker


def killed_after(step: int):
    """SIGKILL once a step is in the log, before it is saved."""
    return partial(_after_logging, step)


def killed_while_saving(step: int):
    """SIGKILL when the checkpoint of a step is written, but has not got its name yet."""
    return partial(_at_replacing, f"step-{step:09d}.ckpt")


def killed_before_model_file():
    """SIGKILL when the first model file is written, but has not got its name yet."""
    return partial(_at_replacing, "model.safetensors")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after_logging(step: int) -> None:
    inner = MetricsCsv.log_metrics

    def log_metrics(self, metrics, step_now=None, **named):
        now = named.get("step", step_now)
        inner(self, metrics, now)
        if now == step and "loss" in metrics:
            _die()

    MetricsCsv.log_metrics = log_metrics


def _at_replacing(name: str) -> None:
    inner = os.replace

    def replace(source, target):
        if os.path.basename(target) == name:
            _die()
        inner(source, target)

    os.replace = replace


def disk_full_at(count: int):
    """No space is left when the ``count``-th checkpoint is written."""
    return partial(_disk_full, count)


def _disk_full(count: int) -> None:
    inner, calls = torch.save, []

    def save(*args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return inner(*args, **kwargs)

    torch.save = save


def worker_dies_at(draw: int):
    """A data worker vanishes when it is to read a draw."""
    return partial(_worker_dies, draw)


def _worker_dies(draw: int) -> None:
    inner = loaders._Draws.__getitem__

    def item(self, key):
        if self.random and key[0] == draw:
            _die()
        return inner(self, key)

    loaders._Draws.__getitem__ = item


def reading_fails_at(draw: int):
    """Neither the sample of a draw nor any that is tried in its place can be read."""
    return partial(_reading_fails, draw)


def _reading_fails(draw: int) -> None:
    inner = loaders._Draws.__getitem__

    def item(self, key):
        if self.random and key[0] == draw:
            raise OSError(errno.EIO, "no file can be read")
        return inner(self, key)

    loaders._Draws.__getitem__ = item


def not_finite_at(draw: int):
    """The loss of one draw is not a number."""
    return partial(_not_finite, draw)


def _not_finite(draw: int) -> None:
    inner = DiffusionModel.loss

    def loss(self, batch, *args, **kwargs):
        return torch.where(batch.draws == draw, torch.nan, inner(self, batch, *args, **kwargs))

    DiffusionModel.loss = loss


def gradient_not_finite_at(draw: int):
    """The loss of one draw is fine, and its gradient is not a number."""
    return partial(_gradient_not_finite, draw)


def _gradient_not_finite(draw: int) -> None:
    inner = DiffusionModel.loss

    def loss(self, batch, *args, **kwargs):
        losses = inner(self, batch, *args, **kwargs)
        if (batch.draws == draw).any():
            losses.register_hook(lambda gradient: gradient * torch.nan)
        return losses

    DiffusionModel.loss = loss


def validation_fails_at(count: int):
    """The held-out loss cannot be computed the ``count``-th time."""
    return partial(_validation_fails, count)


def _validation_fails(count: int) -> None:
    inner, calls = DiffusionModel.validation_loss, []

    def validation_loss(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            raise OSError(errno.ENOENT, "the held-out file is gone")
        return inner(self, *args, **kwargs)

    DiffusionModel.validation_loss = validation_loss


def waits_after(step: int):
    """A step takes longer than the run may."""
    return partial(_waits_after, step)


def _waits_after(step: int) -> None:
    inner = Timer.time_elapsed

    def time_elapsed(self, stage="train"):
        return inner(self, stage) + (1e6 if steps and steps[-1] >= step else -1e6)

    steps, log = [], MetricsCsv.log_metrics

    def log_metrics(self, metrics, step=None):
        steps.append(step)
        log(self, metrics, step)

    Timer.time_elapsed, MetricsCsv.log_metrics = time_elapsed, log_metrics


def preview_fails() -> None:
    """No space is left for any preview."""
    def call(self, model, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    PreviewMaker.__call__ = call


def nobody_reads() -> None:
    """What reads the output has ended, as with ``head``."""
    reading, writing = os.pipe()
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    os.close(reading)

"""What a training step costs beside the network: python scripts/bench/overhead.py [overrides of mmdiff train].

A bare loop (encode, draw noise and time with torch, one forward and backward, clip, optimizer) and the whole of
training (Lightning, keyed randomness, averages, log) take a step each in turns, of the same batches. Times are of this
process's CPU unless the model is on a GPU; medians over steps, and of the ratios of neighbours, so that other work on
the machine counts little.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.core.optimizer import LightningOptimizer
from omegaconf import DictConfig, OmegaConf, open_dict

from mmdiff.config.overrides import composed
from mmdiff.core.types import expand
from mmdiff.data.loaders import train_loader
from mmdiff.learner import DenoisingDraw
from mmdiff.training.process import memory_kept
from mmdiff.training.run import Assembly, assemble
from mmdiff.training.trainer import build_trainer

STEPS, WARM = 60, 8


def clock() -> float:
    """Seconds: of the CPU, or of the clock on the wall once the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Turns(L.Callback):
    """The time of every step, and of one of ``hand`` after it."""

    def __init__(self, hand: Iterator[float]):
        self.hand = hand
        self.pairs: list[tuple[float, float]] = []

    def on_train_start(self, *args) -> None:
        self.begun = clock()

    def on_train_batch_end(self, *args) -> None:
        whole = clock() - self.begun
        self.pairs.append((next(self.hand), whole))
        self.begun = clock()


def bare(parts: Assembly, device: torch.device) -> Iterator[float]:
    """Seconds of each step of a loop as one would write it by hand."""
    module = parts.module
    model = module.model.to(device)
    optimizer, schedule = module.optim(model, steps=STEPS)
    order = module.loading.order(module.dataset, seed=0, steps=STEPS + WARM)
    last = clock()
    paired = model.coupling is not None and model.coupling.kind != "independent"          # with the noise that is drawn
    draw = model.draw if paired else None
    for batch in train_loader(module.dataset, order, workers=module.loading.workers, draw=draw):
        batch = move_data_to_device(batch, device)
        with torch.no_grad():
            x0 = model.codec.encode(batch.samples)
        eps, t = torch.randn_like(x0.x), torch.rand(len(x0.x), device=device)
        level, slope = model.denoiser.levels(t, x0.x)
        x_t = level.alpha * x0.x + level.sigma * eps
        output = model.denoiser.network(x_t, t, model.conditioner(batch.labels), x0.mask)
        error = (output - model.denoiser.parameterization.target(x0.x, eps, level, slope)) ** 2
        loss = (error if x0.mask is None else error * expand(x0.mask.float(), error)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.trainable.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        yield clock() - last
        last = clock()


def taken(config: DictConfig, folder: Path) -> tuple[Assembly, list[tuple[float, float]], dict[str, list[float]]]:
    """A run, the seconds of each step by hand and of training, and those of the parts of training's."""
    parts = assemble(config, folder / "run")
    parts.callbacks.remove(parts.saving)
    device = torch.device("cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu")
    found = parts_timed(parts)
    turns = Turns(bare(assemble(config, folder / "hand"), device))
    with memory_kept():
        build_trainer(config, folder / "run", [*parts.callbacks, turns]).fit(parts.module)
    return parts, turns.pairs[WARM:], {name: times[WARM:] for name, times in found.items()}


def parts_timed(parts: Assembly) -> dict[str, list[float]]:
    """The seconds of each part of training's steps, which fill up as it goes on."""
    module, found = parts.module, {}
    for name, owner, method in (
        ("draws of noise, times, labels", DenoisingDraw, "__call__"),
        ("network forward", module.model.network, "forward"), ("backward", module, "manual_backward"),
        ("norm, whether it is finite", module, "_checked"),
        ("clipping", torch.nn.utils, "clip_grads_with_norm_"), ("optimizer", LightningOptimizer, "step"),
        ("averages", module.tracks[0], "update"),
    ):
        setattr(owner, method, _timed(getattr(owner, method), found.setdefault(name, [])))
    return found


def _timed(function: Callable[..., object], found: list[float]) -> Callable[..., object]:
    def run(*arguments: object, **named: object) -> object:
        begun = clock()
        try:
            return function(*arguments, **named)
        finally:
            found.append(clock() - begun)
    return run


def spent(act: Callable[[], object], count: int = 5) -> float:
    """Median seconds of an action."""
    def once() -> float:
        start = clock()
        act()
        return clock() - start

    return statistics.median(once() for _ in range(count))


def main() -> None:
    """Measure and print."""
    config = composed("train", ["preview.n=0", "validation.every=0", "checkpoint.every=0", *sys.argv[1:]])
    with open_dict(config):
        config.run, config.trainer.max_steps = "", STEPS + WARM
    OmegaConf.resolve(config)
    with tempfile.TemporaryDirectory() as folder:
        parts, pairs, found = taken(config, Path(folder))
        module, saving, size = parts.module, parts.saving, config.loader.batch_size
        hand, whole = (statistics.median(times) for times in zip(*pairs, strict=True))
        more = statistics.quantiles((one[1] / one[0] - 1 for one in pairs), n=4)
        module.trainer.callbacks.append(saving)
        save = spent(lambda: saving.act(module.trainer, module, module.global_step))
    items = iter(module.train_dataloader().dataset[key] for key in ((i, i % len(module.dataset)) for i in range(10**6)))
    read = spent(lambda: [next(items) for _ in range(size)])
    print(f"bare loop {1e3 * hand:.1f} ms a step, whole training {1e3 * whole:.1f} ms: {100 * more[1]:+.1f} % "
          f"(middle half of the steps {100 * more[0]:+.1f} to {100 * more[2]:+.1f} %)")
    told = {name: statistics.median(times) for name, times in found.items() if times}
    for name, seconds in {**told, "reading, loss, Lightning, log": whole - sum(told.values())}.items():
        print(f"  {name:32} {1e3 * seconds:6.1f} ms, {100 * seconds / whole:.1f} %")
    print(f"checkpoint with model file {1e3 * save:.0f} ms")
    print(f"data {size / read:.0f} samples/s in one process")


if __name__ == "__main__":
    main()

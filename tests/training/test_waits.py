"""The device never waits for the host: what is random comes with the batch, nothing is asked of what is computed."""

import pickle
import subprocess
import sys
import traceback
from contextlib import contextmanager

import lightning as L
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import Auto
from mmdiff.data.batch import Batch, pad
from mmdiff.data.labels import encode_labels
from mmdiff.data.loaders import train_loader
from mmdiff.training.module import TrainingModule
from tests.conftest import TINY
from tests.test_maps import assembled, awake

ASKS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")
QUIET = ["preview.n=0", "logger=csv", "trainer=cpu", "loader.batch_size=4", "trainer.max_steps=4"]
ADAPTERS = {
    "audio": TINY,
    "video": ["adapter=video", "data=shapes", "data.n=20", "data.size=16", "adapter.network.dim=16",
              "adapter.network.depth=1", "adapter.network.heads=2", "adapter.network.patch=[2,8,8]",
              "adapter.conditioner.dim=8", "adapter/controls=edges", *QUIET],
    "points": ["adapter=points", "data.n=20", "adapter.reader.points=32", "adapter.network.dim=16",
               "adapter.network.depth=1", "adapter.network.heads=2", "adapter.conditioner.dim=8", *QUIET],
}


class _Asked(TorchDispatchMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


@contextmanager
def asked():
    """All that is asked of tensors on the way: on a GPU each would wait until all before it is computed."""
    found = []

    def telling(name, inner):
        def ask(self, *args, **kwargs):
            found.append(f"{name}: {traceback.extract_stack(limit=3)[-2]}")
            return inner(self, *args, **kwargs)
        return ask

    with pytest.MonkeyPatch.context() as patch:
        for name in ASKS:
            patch.setattr(torch.Tensor, name, telling(name, getattr(torch.Tensor, name)))
        with _Asked(found):
            yield found


@pytest.fixture(params=ADAPTERS)
def module(request, tmp_path):
    made = assembled(tmp_path / "run", *ADAPTERS[request.param]).module
    awake(made.model.trainable)
    return made


def padded(module):
    """A drawn batch of two samples of two sizes."""
    rows = [module.dataset.read(i) for i in range(2)]
    first, second = (sample for sample, _ in rows)
    axis = next(i for i, n in enumerate(second.shape) if i and n > 1)
    second = second.narrow(axis, 0, -(-3 * second.shape[axis] // 5))
    labels = encode_labels(module.model.fields, [labels for _, labels in rows])
    batch = Batch(pad([first, second]), labels, torch.tensor([3, 8]))
    return module.model.draw(batch, 0, batch_size=2)


def test_loss_and_gradient_of_a_batch_with_padding_ask_for_nothing(module):
    batch = padded(module)
    assert batch.samples.mask is not None and len(set(batch.extents)) == 2
    with asked() as found:
        module.model.loss(batch, 0).mean().backward()
    assert not found


def test_noise_is_drawn_at_the_extents_that_latents_have(module):
    batch = padded(module)
    x0 = module.model.codec.encode(batch.samples)
    assert x0.mask is not None and torch.equal(batch.random["eps"], normal(0, batch.draws, Purpose.NOISE, x0))


def test_a_step_of_a_sampler_asks_for_nothing(module):
    codec, row = module.model.codec, module.dataset.read(0)
    counts = []
    for steps in (2, 5):
        for _ in range(2):                                            # the first time a table is made
            with asked() as found:
                module.model.latents([row[1]] * 2, [0, 1], codec.latent_shape(**codec.size(row[0])),
                                     sampler=Auto(steps), guidance=ClassifierFree(2.0))
        counts.append(found)
    assert len(counts[0]) == len(counts[1]), counts[1]


def test_a_training_step_asks_for_nothing_but_what_is_known_a_step_late(tmp_path, monkeypatch):
    module, found = assembled(tmp_path / "run", *TINY, "trainer.max_steps=3").module, []
    inner, settle = TrainingModule.training_step, []

    def step(self, batch, index):
        with asked() as own:
            inner(self, batch, index)
        found.extend(own)

    monkeypatch.setattr(TrainingModule, "training_step", step)
    monkeypatch.setattr(TrainingModule, "_settle", lambda self, taken: settle.append(taken))
    module.model.codec.fit([batch.samples for batch in train_loader(module.dataset, module.loading.order(
        module.dataset, seed=0, steps=1))])
    L.Trainer(accelerator="cpu", max_steps=3, logger=False, limit_val_batches=0, enable_checkpointing=False,
              enable_progress_bar=False, enable_model_summary=False).fit(module)
    assert not found
    assert [taken and taken.step for taken in settle] == [None, 1, 2]


def test_workers_draw_what_the_loss_would_draw_and_are_sent_no_weights(module):
    model, order = module.model, module.loading.order(module.dataset, seed=5, steps=1)
    other = pickle.loads(pickle.dumps(model.draw))
    assert all(p.device.type == "meta" for p in [*other.conditioner.parameters(), *other.codec.buffers()])
    plain = next(iter(train_loader(module.dataset, order)))
    size = len(plain.draws)
    for drawn in (next(iter(train_loader(module.dataset, order, draw=model.draw, workers=1))),
                  other(plain, 5, batch_size=size)):
        assert drawn.random.keys() == {"eps", "t", "kept"}
        assert torch.equal(model.loss(drawn, 0), model.loss(plain, 5, batch_size=size))


KEPT = """
import resource
import torch
from mmdiff.training.process import memory_kept

def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    taken = [torch.zeros(6, 2**20) for _ in range(4)]
    del taken
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with memory_kept():
    print([cleared() for _ in range(8)][-1])
"""


def test_what_a_step_frees_is_there_for_the_next_one_without_asking_the_system_again():
    """A process of its own: in one that did other work there may be holes that are large enough."""
    pages = int(subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True).stdout)
    assert pages < 100, "of 24,576 for 96 MB"

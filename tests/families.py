"""What is shown of every family of public models: its samples, its runs and its changes are those of the library."""

import shutil
from abc import ABC, abstractmethod

import pytest
import torch
from safetensors.torch import load_file

from mmdiff.cli import adopt, lora
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.overrides import completed, composed
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.types import Masked
from mmdiff.store import load_model
from mmdiff.training.elsewhere import estimate
from mmdiff.training.train import train

TEXTS, SEEDS = ["a red disc", "the blue square moves"], [3, 4]
LOOP = [
    "adapter.network.dtype=float32", "data.captions=true", "lora=4", "loader.batch_size=4", "loader.val=0",
    "trainer=cpu", "trainer.max_steps=4", "checkpoint.every=2", "preview.n=0", "log.every=1", "logger=csv",
    "optim.lr=0.02",
]


class Family(ABC):
    """Of an ``adapter`` and its ``pipeline``, from fixtures ``folder`` and ``words`` (of a training run). What is no
    matter of the family (going on, planning) is shown of Wan and of Stable Audio, and of the others with ``-m slow``.
    """

    adapter: str
    pipeline: type
    size: dict[str, float]
    scales: tuple[float, ...] = (1.0, 4.0)
    """Of the guidance that the pipeline and this project have alike, the last for changes."""

    @abstractmethod
    def theirs(self, pipeline, noise, scale, kind="latent"):
        """What the library makes of ``TEXTS`` with that noise, in the form of our latents, or decoded."""

    @abstractmethod
    def sampler(self, pipeline):
        """Our sampler with the nodes that its scheduler visited last."""

    @pytest.fixture(scope="class")
    def adopted(self, folder, words, tmp_path_factory):
        path = tmp_path_factory.mktemp("adopted") / "model.safetensors"
        sizes = [word for word in words if word.startswith(("adapter.reader", "adapter.text", "adapter.network.dtype"))]
        adopt.main([str(folder), f"out={path}", *sizes])
        return path

    @pytest.fixture(scope="class")
    def run(self, words, tmp_path_factory):
        path = tmp_path_factory.mktemp("runs") / "style"
        train(composed("train", [*words, f"run={path}"]))
        return path

    @pytest.fixture(scope="class")
    def library(self, folder):
        made = self.pipeline.from_pretrained(folder)
        made.set_progress_bar_config(disable=True)
        return made

    def shape(self, model):
        return model.codec.latent_shape(**self.size)

    def noise(self, model):
        like = Masked(torch.empty(2, model.codec.channels, *self.shape(model)))
        return normal(SEEDS, torch.zeros(2, dtype=torch.long), Purpose.START, like, 0)

    def rows(self):
        return [{"caption": text} for text in TEXTS]

    def ours(self, model, library, scale):
        return model.latents(self.rows(), SEEDS, self.shape(model), sampler=self.sampler(library),
                             guidance=ClassifierFree(scale))

    def decoded(self, model, latents):
        return model.codec.decode_sized(Masked(latents), **self.size).x

    def test_samples_are_those_of_the_library_s_pipeline(self, adopted, library):
        model, _ = load_model(adopted)
        for scale in self.scales:
            found = self.theirs(library, self.noise(model), scale)
            assert (found - self.ours(model, library, scale)).abs().max() < 1e-5 < found.std()

    def test_what_is_decoded_is_that_of_the_library_s_pipeline(self, adopted, library):
        model, _ = load_model(adopted)
        start = self.noise(model)
        latents, found = (self.theirs(library, start, 1.0, kind=kind) for kind in ("latent", "pt"))
        assert (found - self.decoded(model, latents)).abs().max() < 1e-5 < found.std()

    @pytest.mark.slow
    def test_a_run_goes_on_to_the_bits_of_the_one_that_was_not_stopped(self, run, tmp_path):
        assert {name.rpartition(".")[2] for name in load_file(run / MODEL_FILE)} == {"lora_A", "lora_B"}
        part = shutil.copytree(run, tmp_path / "part")
        for path in (part / MODEL_FILE, part / "checkpoints" / "step-000000004.ckpt"):
            path.unlink()
        train(composed("train", [f"run={part}"]), completed("train", [f"run={part}"]))
        assert (part / MODEL_FILE).read_bytes() == (run / MODEL_FILE).read_bytes()

    def test_a_change_is_the_same_in_the_library_and_comes_back(self, adopted, run, library, tmp_path):
        model, start = load_model(run)[0], self.noise(load_model(adopted)[0])
        plain = self.theirs(library, start, self.scales[-1])
        lora.main(["export", str(run), f"out={tmp_path / 'lora'}", "as=diffusers"])
        library.load_lora_weights(tmp_path / "lora")
        try:
            found = self.theirs(library, start, self.scales[-1])
        finally:
            library.unload_lora_weights()
        own = self.ours(model, library, self.scales[-1])
        assert (found - own).abs().max() < 1e-5 < (found - plain).abs().max() / 10
        file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
        lora.main(["import", str(file), f"base={run / 'base.safetensors'}", f"out={tmp_path / 'back.safetensors'}"])
        again, _ = load_model(run / "base.safetensors", lora={tmp_path / "back.safetensors": 1.0})
        assert torch.equal(self.ours(again, library, self.scales[-1]), own)

    def test_its_network_is_told_what_the_vector_of_a_condition_tells(self, adopted):
        told_by_the_vector(load_model(adopted)[0], self.shape, self.rows())

    @pytest.mark.slow
    def test_it_is_planned_without_its_weights(self, folder, words, tmp_path):
        planned(folder, words, tmp_path)


class ClipFamily(Family):
    """Of clips: one that ``fits`` into a tile of the library, and a ``larger`` one."""

    fits: tuple[int, int, int]
    larger: tuple[int, int, int]

    def test_what_fits_into_a_tile_has_the_bits_of_the_whole_and_more_is_coded_in_tiles(
        self, adopted, library, monkeypatch
    ):
        codec, calls = load_model(adopted)[0].codec, []
        small, large = (torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
                        for size in (self.fits, self.larger))
        whole = codec.decode(codec.encode(Masked(small))).x
        codec.tiled = True
        for name in ("tiled_encode", "tiled_decode"):
            own = getattr(type(library.vae), name)
            monkeypatch.setattr(type(library.vae), name,
                                lambda *told, own=own, name=name, **more: calls.append(name) or own(*told, **more))
        assert torch.equal(codec.decode(codec.encode(Masked(small))).x, whole) and not calls
        assert codec.decode(codec.encode(Masked(large))).x.shape == large.shape
        assert calls == ["tiled_encode", "tiled_decode"]


def told_by_the_vector(model, shape, rows):
    """A student is told its jumps there: they change what comes out, and nothing where they are zero."""
    cond, size = model.condition(rows), shape(model)
    x, level = torch.randn(2, model.codec.channels, *size), torch.rand(2)
    width = model.conditioner.vector_dim or model.conditioner.dim
    zero = torch.zeros(2, width) if cond.vector is None else cond.vector
    plain = model.network(x, level, cond)
    assert torch.equal(model.network(x, level, cond._replace(vector=zero)), plain)
    assert (model.network(x, level, cond._replace(vector=zero + torch.randn(2, width))) - plain).abs().max() > 1e-3


def planned(folder, words, tmp_path):
    """What is found of a run of a folder of settings alone, without data."""
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    own = [word for word in words if not word.startswith(("adapter.model=", "data."))]
    found = estimate(composed("train", [*own, f"adapter.model={bare}"]))
    assert found.learned and found.recomputed < found.activations and sum(found.blocks)
    assert set(found.beside) == {"autoencoder", "text encoder"}

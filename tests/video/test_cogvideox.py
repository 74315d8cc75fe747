"""CogVideoX through diffusers' own classes: a tiny instance generates, learns and is taken elsewhere exactly."""

import math

import diffusers
import pytest
import torch

from mmdiff.adapters.video.write import write_video
from mmdiff.cli import adopt
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import DDIM
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.store import load_model
from mmdiff.testing import Trial
from tests import tiny
from tests.families import LOOP, TEXTS, Family
from tests.laws import PublicContract
from tests.published import Listed

SIZE = {"frames": 9, "height": 32, "width": 48}
STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.cogvideox(tmp_path_factory.mktemp("models") / "cogvideox")


@pytest.fixture(scope="module")
def words(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for i in range(8):
        clip = torch.full((3, 21, 32, 48), -0.5)
        clip[i % 3, :, 4 + i : 12 + i, :20] = 0.8
        write_video(clip, root / f"{i}.mkv", 8)
        (root / f"{i}.txt").write_text(TEXTS[i % 2])
    sizes = [f"adapter.reader.{name}={n}" for name, n in SIZE.items()]
    return ["adapter=cogvideox", f"adapter.model={folder}", *sizes, "adapter.text.length=16", f"data.root={root}",
            *LOOP]


def theirs(pipeline, noise, scale, kind="latent"):
    found = pipeline(prompt=TEXTS, num_frames=9, height=32, width=48, num_inference_steps=STEPS, guidance_scale=scale,
                     latents=noise.transpose(1, 2), output_type=kind, max_sequence_length=16).frames
    return found.transpose(1, 2) if kind == "latent" else found.transpose(1, 2) * 2 - 1


class TestFamily(Family):
    adapter, pipeline, size = "cogvideox", diffusers.CogVideoXPipeline, SIZE

    def theirs(self, pipeline, noise, scale, kind="latent"):
        return theirs(pipeline, noise, scale, kind)

    def sampler(self, pipeline):
        signal = pipeline.scheduler.alphas_cumprod[pipeline.scheduler.timesteps]
        return DDIM(STEPS, Listed((signal / (1 - signal)).log()))

    @torch.no_grad()
    def test_loss_is_that_of_the_library_s_parts(self, adopted, library):
        model, _ = load_model(adopted)
        clips = torch.rand(2, 3, 9, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
        model.conditioner.drop_all = 0.0
        batch = Batch(Masked(clips), {"caption": [*TEXTS]}, torch.tensor([5, 9]))
        steps = torch.tensor([400, 777])
        drawn = model.draw(batch, 0, batch_size=2)
        drawn.random["t"] = (steps + 1) / 1000                        # those that there are in its table
        x0 = library.vae.encode(clips).latent_dist.mode() * library.vae.config.scaling_factor
        eps, signal = normal(0, batch.draws, Purpose.NOISE, Masked(x0)), library.scheduler.alphas_cumprod[steps].float()
        alpha, sigma = (part.sqrt()[:, None, None, None, None] for part in (signal, 1 - signal))
        told, _ = library.encode_prompt(TEXTS, do_classifier_free_guidance=False, max_sequence_length=16)
        turns = library._prepare_rotary_positional_embeddings(32, 48, 3, "cpu")
        x_t = (alpha * x0 + sigma * eps).transpose(1, 2)
        out = library.transformer(x_t, told, steps, image_rotary_emb=turns, return_dict=False)[0].transpose(1, 2)
        expected = (out - (alpha * eps - sigma * x0)).square().flatten(1).mean(1)
        torch.testing.assert_close(model.loss(drawn, 0), expected, rtol=1e-5, atol=0)


def test_a_model_with_added_positions_is_the_same_as_the_library_s(tmp_path):
    folder = tiny.cogvideox(tmp_path / "2b", turned=False)
    sizes = [f"adapter.reader.{name}={n}" for name, n in SIZE.items()]
    adopt.main([str(folder), f"out={tmp_path / 'a.safetensors'}", "adapter.network.dtype=float32",
                "adapter.text.length=16", *sizes])
    family, (model, _) = TestFamily(), load_model(tmp_path / "a.safetensors")
    library = diffusers.CogVideoXPipeline.from_pretrained(folder)
    library.set_progress_bar_config(disable=True)
    found = theirs(library, family.noise(model), 4.0)
    assert (found - family.ours(model, library, 4.0)).abs().max() < 1e-5 < found.std()


class TestContract(PublicContract):
    adapter = "cogvideox"
    lossy = math.inf                                                  # an autoencoder that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, words, tmp_path_factory):
        own = [word for word in words[1:] if not word.startswith(("adapter.reader", "loader.val"))]
        sizes = ["adapter.reader.frames=21", "adapter.reader.height=16", "adapter.reader.width=16"]
        return Trial("cogvideox", [*own, *sizes], tmp_path_factory.mktemp("trial"))

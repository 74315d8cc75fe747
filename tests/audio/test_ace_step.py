"""ACE-Step 1.5 through diffusers' own classes: a tiny instance generates, learns and is taken elsewhere exactly."""

import math

import diffusers
import numpy as np
import pytest
import soundfile
import torch

from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import Euler
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.store import load_model
from mmdiff.testing import Trial
from tests import tiny
from tests.families import LOOP, Family
from tests.laws import PublicContract
from tests.published import Listed, of_flow

SECONDS, RATE = 0.48, 8000
TEXTS = ["a deep short drum", "a short red drum"]                     # of one length: there, padding is read too


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.ace_step(tmp_path_factory.mktemp("models") / "ace")


@pytest.fixture(scope="module")
def words(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    for i in range(8):
        wave = np.sin(np.arange(4500) * (0.05 + 0.02 * i))[:, None] * [0.5, 0.2]
        soundfile.write(root / f"{i}.wav", wave, RATE)
        (root / f"{i}.txt").write_text(TEXTS[i % 2])
    return ["adapter=ace_step", f"adapter.model={folder}", f"adapter.reader.seconds={SECONDS}", f"data.root={root}",
            *LOOP]


class TestFamily(Family):
    adapter, pipeline, size = "ace_step", diffusers.AceStepPipeline, {"seconds": SECONDS}
    scales = (1.0,)                                                   # its own guidance is of velocities

    def rows(self):
        return [{"caption": text} for text in TEXTS]

    def theirs(self, pipeline, noise, scale, kind="latent"):
        found = pipeline(prompt=TEXTS, lyrics=["", ""], audio_duration=SECONDS, num_inference_steps=6,
                         guidance_scale=scale, latents=noise.transpose(1, 2), output_type=kind).audios
        return found.transpose(1, 2) if kind == "latent" else found

    def decoded(self, model, latents):
        loud = super().decoded(model, latents)                        # its pipeline makes all sounds as loud
        return loud * 10 ** (-1 / 20) / loud.abs().amax((1, 2), keepdim=True)

    def sampler(self, pipeline):
        return Euler(6, Listed(of_flow(pipeline.scheduler.sigmas)))

    @torch.no_grad()
    def test_loss_is_that_of_the_library_s_parts(self, adopted, library):
        model, _ = load_model(adopted)
        waves = torch.rand(2, 2, 3840, generator=torch.Generator().manual_seed(0)) - 0.5
        model.conditioner.drop_all = 0.0
        batch = Batch(Masked(waves), {"caption": [*TEXTS]}, torch.tensor([5, 9]))
        x0 = library.vae.encode(waves).latent_dist.mode()
        t = model.draw(batch, 0, batch_size=2).random["t"]
        s, eps = 3 * t / (1 + 2 * t), normal(0, batch.draws, Purpose.NOISE, Masked(x0))
        at, reader = s[:, None, None], library.condition_encoder
        told = library.encode_prompt(TEXTS, ["", ""], "cpu", audio_duration=SECONDS)
        silence = reader.silence_latent.expand(2, -1, -1)
        tokens, _ = reader(*told, silence[:, :1500], torch.arange(2))
        context = torch.cat([silence[:, :24], torch.ones(2, 24, 4)], 2)
        x_t = ((1 - at) * x0 + at * eps).transpose(1, 2)
        out = library.transformer(x_t, s, s, tokens, context, return_dict=False)[0].transpose(1, 2)
        expected = (out - (eps - x0)).square().flatten(1).mean(1)
        torch.testing.assert_close(model.loss(batch, 0), expected, rtol=1e-5, atol=0)

    def test_a_sample_is_the_same_beside_one_of_a_longer_text_and_nothing_told_is_its_learned_null(self, adopted):
        model, _ = load_model(adopted)
        x, level = torch.randn(2, 4, 24), torch.rand(2)
        alone = model.network(x[:1], level[:1], model.condition([{"caption": "a drum"}]))
        long = {"caption": "a deep short red drum moves slowly to the left " * 2}
        both = model.network(x, level, model.condition([{"caption": "a drum"}, long]))
        torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-5)
        null = model.network(x[:1], level[:1], model.conditioner.null(1))
        hidden = model.network(x, level, model.conditioner({"caption": [None, "a drum"]}))
        torch.testing.assert_close(hidden[:1], null, rtol=0, atol=1e-5)
        assert (null - alone).abs().max() > 1e-3


class TestContract(PublicContract):
    adapter = "ace_step"
    lossy = math.inf                                                  # an autoencoder that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, words, tmp_path_factory):
        return Trial("ace_step", [word for word in words[1:] if "loader.val" not in word],
                     tmp_path_factory.mktemp("trial"))

"""LTX-Video through diffusers' own classes: a tiny instance generates, learns and is taken elsewhere exactly."""

import math

import diffusers
import pytest
import torch
from einops import rearrange

from mmdiff.adapters.video.write import write_video
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import Euler
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.store import load_model
from mmdiff.testing import Trial
from tests import tiny
from tests.families import LOOP, TEXTS, ClipFamily
from tests.laws import PublicContract
from tests.published import Listed, of_flow

READER = ["adapter.reader.frames=9", "adapter.reader.height=32", "adapter.reader.width=64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.ltx(tmp_path_factory.mktemp("models") / "ltx")


@pytest.fixture(scope="module")
def words(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for i in range(8):
        clip = torch.full((3, 21, 32, 64), -0.5)
        clip[i % 3, :, 4 + i : 12 + i, :20] = 0.8
        write_video(clip, root / f"{i}.mkv", 25)
        (root / f"{i}.txt").write_text(TEXTS[i % 2])
    return ["adapter=ltx", f"adapter.model={folder}", *READER, f"data.root={root}", *LOOP]


class TestFamily(ClipFamily):
    adapter, pipeline, size = "ltx", diffusers.LTXPipeline, {"frames": 9, "height": 32, "width": 64}
    fits, larger = (9, 32, 64), (1, 32, 544)

    def theirs(self, pipeline, noise, scale, kind="latent"):
        start = rearrange(noise, "b c t h w -> b (t h w) c")
        found = pipeline(prompt=TEXTS, num_frames=9, height=32, width=64, num_inference_steps=6, guidance_scale=scale,
                         latents=start, output_type=kind).frames
        if kind != "latent":
            return found.transpose(1, 2) * 2 - 1
        t, h, w = noise.shape[2:]
        return rearrange(found, "b (t h w) c -> b c t h w", t=t, h=h, w=w)

    def sampler(self, pipeline):
        return Euler(6, Listed(of_flow(pipeline.scheduler.sigmas)))

    @torch.no_grad()
    def test_loss_is_that_of_the_library_s_parts(self, adopted, library):
        model, _ = load_model(adopted)
        clips = torch.rand(2, 3, 9, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        model.conditioner.drop_all, model.given = 0.0, None
        batch = Batch(Masked(clips), {"caption": [*TEXTS]}, torch.tensor([5, 9]))
        vae, shift = library.vae, model.denoiser.schedule.shift
        mean, std = (value.view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
        x0 = (vae.encode(clips).latent_dist.mode() - mean) * vae.config.scaling_factor / std
        t = model.draw(batch, 0, batch_size=2).random["t"]
        s, eps = shift * t / (1 + (shift - 1) * t), normal(0, batch.draws, Purpose.NOISE, Masked(x0))
        at = s[:, None, None, None, None]
        told, mask, *_ = library.encode_prompt(TEXTS, do_classifier_free_guidance=False)
        packed = rearrange((1 - at) * x0 + at * eps, "b c t h w -> b (t h w) c")
        out = library.transformer(packed, told, 1000 * s, mask, 3, 4, 8, (4 / 25, 8, 8), return_dict=False)[0]
        expected = (out - rearrange(eps - x0, "b c t h w -> b (t h w) c")).square().flatten(1).mean(1)
        torch.testing.assert_close(model.loss(batch, 0), expected, rtol=1e-5, atol=0)

    def test_a_level_for_each_frame_is_a_time_for_each_token(self, adopted):
        model, _ = load_model(adopted)
        x, level, cond = torch.randn(2, 4, 3, 4, 8), torch.rand(2), model.condition(self.rows())
        each = model.network(x, level[:, None].expand(-1, 3), cond)
        torch.testing.assert_close(each, model.network(x, level, cond), rtol=0, atol=1e-5)
        clean = torch.cat([torch.zeros(2, 1), level[:, None].expand(-1, 2)], 1)
        assert (model.network(x, clean, cond) - each).abs().max() > 1e-3


class TestContract(PublicContract):
    adapter = "ltx"
    lossy = math.inf                                                  # an autoencoder that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, words, tmp_path_factory):
        own = [word for word in words[1:] if not word.startswith(("adapter.reader", "loader.val"))]
        sizes = ["adapter.reader.frames=21", "adapter.reader.height=16", "adapter.reader.width=16"]
        return Trial("ltx", [*own, *sizes], tmp_path_factory.mktemp("trial"))

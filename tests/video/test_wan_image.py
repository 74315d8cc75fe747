"""Wan 2.2 TI2V through diffusers' own classes: a time for each frame, so a given first frame is image to video."""

import shutil

import diffusers
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mmdiff.adapters.video.write import write_video
from mmdiff.cli import adopt, lora
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import Euler
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.store import load_model
from mmdiff.testing import Trial
from mmdiff.training.train import train
from tests import tiny
from tests.laws import PublicContract
from tests.published import Listed, of_flow
from tests.training.launch import Job

SIZE = {"frames": 5, "height": 64, "width": 96}
TEXTS, SEEDS = ["a red disc", "the blue square moves"], [3, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.wan_ti2v(tmp_path_factory.mktemp("models") / "ti2v")


@pytest.fixture(scope="module")
def words(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for i in range(8):
        clip = torch.full((3, 21, 32, 32), -0.5)
        clip[i % 3, :, 4 + i : 12 + i, :20] = 0.8
        write_video(clip, root / f"{i}.mkv", 24)
        (root / f"{i}.txt").write_text(TEXTS[i % 2])
    return [
        "adapter=wan_ti2v", f"adapter.model={folder}", "adapter.network.dtype=float32", "adapter.reader.frames=5",
        "adapter.reader.height=32", "adapter.reader.width=32", f"data.root={root}", "data.captions=true", "lora=4",
        "loader.batch_size=4", "loader.val=0", "trainer=cpu", "trainer.max_steps=4", "checkpoint.every=2",
        "preview.n=0", "log.every=1", "logger=csv", "optim.lr=0.02", "++trainer.accumulate_grad_batches=2",
    ]


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "turns"
    train(composed("train", [*words, f"run={path}"]))
    return path


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("adopted") / "ti2v.safetensors"
    sizes = [f"adapter.reader.{name}={n}" for name, n in SIZE.items()]
    adopt.main([str(folder), f"out={path}", "adapter.network.dtype=float32", *sizes])
    assert read_header(path)["config"]["adapter"]["network"]["_target_"].endswith("FrameWanNetwork")
    return load_model(path)[0]


def made(kind, folder, model, change=None, **more):
    """Latents that the library's pipeline makes, with a ``change`` of its weights, and the nodes of its scheduler."""
    loaded = diffusers.WanPipeline.from_pretrained(folder)
    if change:
        loaded.load_lora_weights(change)
    pictures = {} if kind is diffusers.WanPipeline else {"image_encoder": None, "image_processor": None}
    parts = {**loaded.components, **pictures}
    pipeline = kind(**parts, expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    like = Masked(torch.empty(2, model.codec.channels, *model.codec.latent_shape(**SIZE)))
    noise = normal(SEEDS, torch.zeros(2, dtype=torch.long), Purpose.START, like, 0)
    told, empty = loaded.encode_prompt(TEXTS, ["", ""], max_sequence_length=512)
    found = pipeline(prompt_embeds=told, negative_prompt_embeds=empty, num_inference_steps=6, guidance_scale=5.0,
                     latents=noise, output_type="latent", num_frames=5, height=64, width=96, **more).frames
    return found, Listed(of_flow(pipeline.scheduler.sigmas))


def ours(model, grid, known=None):
    rows = [{"caption": text} for text in TEXTS]
    return model.latents(rows, SEEDS, model.codec.latent_shape(**SIZE), sampler=Euler(6, grid),
                         guidance=ClassifierFree(5.0), known=known)


def test_samples_are_those_of_the_library_s_pipeline(folder, model):
    found, grid = made(diffusers.WanPipeline, folder, model)
    assert (found - ours(model, grid)).abs().max() < 1e-5 < found.std()


@torch.no_grad()
def test_pixels_are_those_of_the_library_s_autoencoder(folder, model):
    vae = diffusers.AutoencoderKLWan.from_pretrained(folder / "vae")
    mean, std = (torch.tensor(getattr(vae.config, f"latents_{name}")).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    latents = torch.randn(1, 4, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    found = vae.decode(latents * std + mean, return_dict=False)[0]
    assert found.shape == (1, 3, 5, 64, 96) and (found - model.codec.decode(Masked(latents)).x).abs().max() < 1e-5


def test_a_first_frame_that_is_given_is_image_to_video(folder, model):
    pixels = torch.rand(64, 96, 3, generator=torch.Generator().manual_seed(0)).mul(255).to(torch.uint8)
    picture = Image.fromarray(pixels.numpy())
    found, grid = made(diffusers.WanImageToVideoPipeline, folder, model, image=picture)
    clip = (pixels.permute(2, 0, 1)[:, None].float() / 255 * 2 - 1).expand(2, -1, -1, -1, -1)
    first = model.codec.encode(Masked(clip)).x
    latents = torch.cat([first, torch.zeros_like(found[:, :, 1:])], 2)
    mask = torch.zeros_like(found[:, :1], dtype=torch.bool)
    mask[:, :, 0] = True
    assert (found - ours(model, grid, Masked(latents, mask))).abs().max() < 1e-5 < found.std()


@torch.no_grad()
def test_loss_is_that_of_the_library_s_parts_where_nothing_is_given(folder, model):
    library = diffusers.WanPipeline.from_pretrained(folder)
    clips = torch.rand(8, 3, 5, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = model.draw(Batch(Masked(clips), {"caption": TEXTS * 4}, torch.arange(8)), 0, batch_size=8)
    t, eps = batch.random["t"], batch.random["eps"]
    noisy, s = t > 0, 5 * t / (1 + 4 * t)
    assert noisy[:, 1].all() and 0 < noisy[:, 0].sum() < 8
    mean, std = (torch.tensor(getattr(library.vae.config, f"latents_{name}")).view(1, -1, 1, 1, 1)
                 for name in ("mean", "std"))
    x0, at = (library.vae.encode(clips).latent_dist.mode() - mean) / std, s[:, None, :, None, None]
    told, _ = library.encode_prompt([text or "" for text in batch.labels["caption"]], max_sequence_length=512,
                                    do_classifier_free_guidance=False)
    times = 1000 * s.repeat_interleave(2 * 3, dim=1)                  # of each token of a frame of 4 x 6
    out = library.transformer((1 - at) * x0 + at * eps, times, told, return_dict=False)[0]
    error = (out - (eps - x0)).square().mean((1, 3, 4))
    torch.testing.assert_close(model.loss(batch, 0), (error * noisy).sum(1) / noisy.sum(1), rtol=1e-5, atol=0)


def test_training_gives_first_frames_clean_without_a_loss_and_all_levels_alike_are_one(model):
    clips = torch.rand(8, 3, 5, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = Batch(Masked(clips), {"caption": TEXTS * 4}, torch.arange(8))
    drawn = model.drawn(model.draw(batch, 0, batch_size=8))
    assert drawn.t.shape == (8, 2) and {0.0} < set(drawn.t[:, 0].tolist()) and (drawn.t[:, 1] > 0).all()
    assert model.loss(batch, 0).isfinite().all()
    x, level, cond = drawn.x0.x, torch.rand(8), model.condition([{"caption": text} for text in TEXTS * 4])
    each = model.network(x, level[:, None].expand(-1, 2), cond)
    torch.testing.assert_close(each, model.network(x, level, cond), rtol=0, atol=1e-5)


def test_a_run_goes_on_to_the_bits_of_the_one_that_was_not_stopped(run, tmp_path):
    part = shutil.copytree(run, tmp_path / "part")
    for path in (part / MODEL_FILE, part / "checkpoints" / "step-000000004.ckpt"):
        path.unlink()
    train(composed("train", [f"run={part}"]), completed("train", [f"run={part}"]))
    assert (part / MODEL_FILE).read_bytes() == (run / MODEL_FILE).read_bytes()


def test_two_processes_learn_to_the_bit_what_one_learns_in_two_parts(words, run, tmp_path):
    both = tmp_path / "both"
    own = [word for word in words if not word.startswith(("trainer=", "++trainer"))]
    Job("train", *own, "trainer=ddp_cpu", "trainer.max_steps=4", f"run={both}", world=2, output=tmp_path).wait()
    made, alone = load_file(both / MODEL_FILE), load_file(run / MODEL_FILE)
    assert made.keys() == alone.keys() and all(torch.equal(value, alone[name]) for name, value in made.items())


def test_a_change_is_the_same_in_the_library_and_comes_back(folder, model, run, tmp_path):
    lora.main(["export", str(run), f"out={tmp_path / 'lora'}", "as=diffusers"])
    plain, _ = made(diffusers.WanPipeline, folder, model)
    found, grid = made(diffusers.WanPipeline, folder, model, tmp_path / "lora")
    own = ours(load_model(run)[0], grid)
    assert (found - own).abs().max() < 1e-5 < (found - plain).abs().max() / 10
    file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    lora.main(["import", str(file), f"base={run / 'base.safetensors'}", f"out={tmp_path / 'back.safetensors'}"])
    again, _ = load_model(run / "base.safetensors", lora={tmp_path / "back.safetensors": 1.0})
    assert torch.equal(ours(again, grid), own)


class TestContract(PublicContract):
    adapter = "wan_ti2v"

    @pytest.fixture(scope="class")
    def trial(self, words, tmp_path_factory):
        own = [word for word in words[1:] if not word.startswith(("adapter.reader", "++trainer"))]
        sizes = ["adapter.reader.frames=21", "adapter.reader.height=16", "adapter.reader.width=16"]
        return Trial("wan_ti2v", [*own, *sizes], tmp_path_factory.mktemp("trial"))

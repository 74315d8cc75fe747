"""Stable Audio Open through diffusers' own classes: a tiny instance generates, learns and is saved exactly."""

import math
import shutil

import diffusers
import numpy as np
import peft
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from mmdiff.cli import adopt, lora
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import read_header
from mmdiff.config.overrides import composed
from mmdiff.core.composed import Composed
from mmdiff.core.guidance import ClassifierFree, Distilled
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers.dpm import DPMSolverPP2M
from mmdiff.core.samplers.jump import Jump
from mmdiff.core.schedules import Until
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.store import built, load_model
from mmdiff.testing import Trial
from mmdiff.training.train import train
from tests import tiny
from tests.families import planned, told_by_the_vector
from tests.laws import PublicCodecContract, PublicContract
from tests.published import Listed

SECONDS, LONGEST = 0.03, 24 * 16 / 8000
TEXTS = ["a deep drum", "a short red drum"]
ROWS, SEEDS = [{"caption": text, "seconds": SECONDS} for text in TEXTS], [3, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.stable_audio(tmp_path_factory.mktemp("models") / "stable")


@pytest.fixture(scope="module")
def words(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    for i in range(8):
        wave = np.sin(np.arange(500) * (0.05 + 0.01 * i))[:, None] * [0.5, 0.2]
        soundfile.write(root / f"{i}.wav", wave, 8000)
        (root / f"{i}.txt").write_text(TEXTS[i % 2])
    return [
        "adapter=stable_audio", f"adapter.model={folder}", "adapter.network.dtype=float32",
        f"adapter.reader.seconds={LONGEST}", f"data.root={root}", "data.captions=true", "lora=4", "loader.batch_size=4",
        "loader.val=0", "trainer=cpu", "trainer.max_steps=4", "checkpoint.every=2", "preview.n=1", "preview.every=4",
        "log.every=1", "logger=csv", "optim.lr=0.02",
    ]


@pytest.fixture(scope="module")
def adopted(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("adopted") / "stable.safetensors"
    adopt.main([str(folder), f"out={path}", "adapter.network.dtype=float32", f"adapter.reader.seconds={SECONDS}"])
    return path


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "drums"
    train(composed("train", [*words, f"run={path}"]))
    return path


@pytest.fixture(scope="module")
def pipeline(folder):
    made = diffusers.StableAudioPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    made.scheduler.precondition_noise = lambda sigma: sigma.atan() / math.pi * 2     # what the model learned with
    return made


def theirs(pipeline, steps, scale=7.0, kind="latent", **negative):
    start = normal(SEEDS, torch.zeros(2, dtype=torch.long), Purpose.START, Masked(torch.empty(2, 4, 24)), 0)
    return pipeline(prompt=TEXTS, audio_end_in_s=SECONDS, num_inference_steps=steps, guidance_scale=scale,
                    latents=start, output_type=kind, **negative).audios


def ours(model, pipeline, steps, scale=7.0, negative=()):
    sigmas, schedule = pipeline.scheduler.sigmas[:-1].double(), model.denoiser.schedule
    if not isinstance(schedule, Until):
        model.denoiser.schedule = Until(schedule, float(sigmas[0]))
    sampler = DPMSolverPP2M(steps, Listed(-2 * sigmas.log()))
    return model.latents(ROWS, SEEDS, (24,), sampler=sampler, guidance=ClassifierFree(scale), negative=negative)


@pytest.mark.parametrize(("steps", "scale"), [(12, 1.0), (12, 7.0)])
def test_samples_are_those_of_the_library_s_pipeline(adopted, pipeline, steps, scale):
    model, _ = load_model(adopted)
    found = theirs(pipeline, steps, scale)
    assert (found - ours(model, pipeline, steps, scale)).abs().max() < 1e-5 < found.std()


def test_a_negative_text_is_of_a_sound_as_long_as_was_asked_as_in_the_library(adopted, pipeline):
    model, _ = load_model(adopted)
    found = theirs(pipeline, 12, negative_prompt=[*TEXTS[::-1]])
    away = [{"caption": text} for text in TEXTS[::-1]]
    assert (found - ours(model, pipeline, 12, negative=away)).abs().max() < 1e-5 < found.std()
    both = ours(model, pipeline, 3, negative=[away[0], {}])          # nothing to keep away from, beside one that has
    assert torch.equal(both[1], ours(model, pipeline, 3)[1])
    columns = model._labels(ROWS), model._labels([{"caption": TEXTS[1], "seconds": 0.02}, {}])
    told = model.conditioner.contrast(columns[0], 2, columns[1]).vector
    assert not torch.equal(told[0], told[1])                          # unless it says how long
    blurred, wish = {"caption": TEXTS[1]}, [{"cond": {"caption": TEXTS[1]}, "scale": -1.0}]
    also = Composed(2.0, also=wish).bind(ROWS, model).also[0]
    assert torch.equal(also.vector, model.condition([{**row, **blurred} for row in ROWS]).vector)


def test_sound_is_that_of_the_library_s_pipeline_as_long_as_was_asked(adopted, pipeline):
    model, _ = load_model(adopted)
    found = theirs(pipeline, 5, kind="pt")
    latents = ours(model, pipeline, 5)
    made = model.codec.decode_sized(Masked(latents), seconds=SECONDS).x
    assert found.shape == made.shape == (2, 2, 240) and (found - made).abs().max() < 1e-5 < found.std()


def test_where_the_text_is_hidden_the_seconds_are_still_told(adopted):
    conditioner = load_model(adopted)[0].conditioner
    labels = {"caption": [*TEXTS], "seconds": torch.tensor([0.01, math.nan])}
    told, null = conditioner(labels), conditioner.contrast(labels, 2)
    assert torch.equal(told.vector, null.vector) and not torch.equal(told.vector[0], told.vector[1])
    assert not null.tokens.any() and told.tokens.any(2).sum(1).tolist() == [4 + 2, 5 + 2]
    longest = conditioner({"caption": ["a"], "seconds": torch.tensor([LONGEST])})
    for same in (conditioner.null(1).vector, told.vector[1:]):       # not told, they are the longest
        torch.testing.assert_close(same, longest.vector)
    with pytest.raises(ValueError, match=r"seconds is up to 0.048, as long as this model's sounds are; got 3"):
        conditioner.check({"caption": "a drum", "seconds": 3})


def test_loss_is_that_of_the_library_s_parts(adopted, pipeline):
    model, _ = load_model(adopted)
    waves, draws = torch.rand(2, 2, 384, generator=torch.Generator().manual_seed(0)) - 0.5, torch.tensor([5, 9])
    model.conditioner.drop_all = 0.0
    batch = Batch(Masked(waves), {"caption": [*TEXTS], "seconds": torch.full((2,), SECONDS)}, draws)
    with torch.no_grad():
        x0 = pipeline.vae.encode(waves).latent_dist.mode()
        t, eps = model.draw(batch, 0, batch_size=2).random["t"], normal(0, draws, Purpose.NOISE, Masked(x0))
        alpha, sigma = ((math.pi / 2 * t).cos()[:, None, None], (math.pi / 2 * t).sin()[:, None, None])
        text = pipeline.encode_prompt(TEXTS, "cpu", False)
        start, end = pipeline.encode_duration(0.0, SECONDS, "cpu", False, 2)
        turns = diffusers.models.embeddings.get_1d_rotary_pos_embed(4, 25, use_real=True, repeat_interleave_real=False)
        out = pipeline.transformer(
            alpha * x0 + sigma * eps, t, torch.cat([text, start, end], 1), torch.cat([start, end], 2),
            rotary_embedding=turns, return_dict=False,
        )[0]
        expected = (out - (alpha * eps - sigma * x0)).square().flatten(1).mean(1)
        torch.testing.assert_close(model.loss(batch, 0), expected, rtol=1e-5, atol=0)


def test_a_run_holds_the_change_alone_goes_on_bit_for_bit_and_is_the_same_in_peft(adopted, run, pipeline, tmp_path):
    header = read_header(run / MODEL_FILE)
    assert {name.rpartition(".")[2] for name in load_file(run / MODEL_FILE)} == {"lora_A", "lora_B"}
    assert header["bases"][1]["licence"] == "stable-audio-community" and (run / "previews").exists()
    part = shutil.copytree(run, tmp_path / "part")
    for path in (part / MODEL_FILE, part / "checkpoints" / "step-000000004.ckpt"):
        path.unlink()
    train(composed("train", [f"run={part}"]), [f"run={part}"])
    assert (part / MODEL_FILE).read_bytes() == (run / MODEL_FILE).read_bytes()
    plain = theirs(pipeline, 5)
    lora.main(["export", str(run), f"out={tmp_path / 'lora'}", "as=peft"])
    changed = peft.PeftModel.from_pretrained(pipeline.transformer, tmp_path / "lora")
    found = theirs(pipeline, 5)
    changed.unload()
    made = ours(load_model(run)[0], pipeline, 5)
    assert (found - made).abs().max() < 1e-5 < (found - plain).abs().max() / 10


def test_sounds_that_are_longer_than_its_window_are_refused(adopted):
    model, _ = load_model(adopted)
    with pytest.raises(ValueError, match="learned sounds of 24 latents, and 25 were asked for"):
        model.latents(ROWS, SEEDS, model.codec.latent_shape(seconds=0.05), sampler=DPMSolverPP2M(2))


def test_a_student_of_few_calls_is_told_where_it_jumps(adopted):
    told_by_the_vector(load_model(adopted)[0], lambda model: (24,), ROWS)
    config = read_header(adopted)["config"]
    config["diffusion"]["jumps"] = [1.0, 3.0]
    student = built(adopted, config)
    assert student.latents(ROWS, SEEDS, (24,), sampler=Jump(1), guidance=Distilled(2.0)).isfinite().all()


def test_it_is_planned_without_its_weights(folder, words, tmp_path):
    planned(folder, words, tmp_path)


class TestContract(PublicContract):
    adapter = "stable_audio"
    lossy = math.inf                                                  # an autoencoder that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, words, tmp_path_factory):
        return Trial("stable_audio", [word for word in words[1:] if "loader.val" not in word],
                     tmp_path_factory.mktemp("trial"))


class TestCodecAlone(PublicCodecContract):
    """Its autoencoder is the codec of a network of our own."""

    adapter = "audio_oobleck"
    lossy = math.inf                                                  # an autoencoder that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, folder, words, tmp_path_factory):
        alone = shutil.copytree(folder / "vae", tmp_path_factory.mktemp("codec") / "vae")
        own = [f"adapter.model={alone}", "adapter.reader.seconds=0.05", "adapter.network.dim=64",
               "adapter.network.depth=2", "adapter.network.heads=4", "adapter.conditioner.dim=32",
               "data.pattern=(?P<kind>.)", *(word for word in words if word.startswith("data.root"))]
        return Trial("audio_oobleck", own, tmp_path_factory.mktemp("trial"))

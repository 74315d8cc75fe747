"""What a codec learns through the network of a judge: perceptual loss, and latents that tell what that sees."""

import pytest
import torch
from torch.nn import functional as F

from mmdiff.adapters.audio.judge import AudioJudge
from mmdiff.adapters.audio.sound import WaveCodec
from mmdiff.adapters.points.codec import PointCodec
from mmdiff.adapters.points.judge import PointJudge
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.coder import FilmCoder
from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.cli.embedder import main as embedder_command
from mmdiff.config.build import ConfigError
from mmdiff.core.types import Masked
from mmdiff.evaluation.embedders.embedder import Embedder, load_embedder
from mmdiff.evaluation.embedders.watched import Aligned, Perceptual
from mmdiff.store import load_learner
from mmdiff.training.checkpoints import latest
from mmdiff.weights import read_model_file
from tests.training.test_adversary import rows, run
from tests.training.test_resume import assert_same
from tests.video.test_film_codec import CODEC

MODALITIES = {
    "films": (VideoJudge(), PixelCodec(1), (1, 5, 16, 16)), "sound": (AudioJudge(), WaveCodec(8000), (1, 4000)),
    "shapes": (PointJudge(), PointCodec(), (3, 64)),
}


def embedder(path, judge, codec):
    torch.manual_seed(0)
    Embedder(judge, {"kind": ["a", "b"]}, **judge.settings(codec)).save(path, {})
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    file = embedder(tmp_path_factory.mktemp("judge") / "judge.safetensors", VideoJudge(), PixelCodec(3))
    return file, [*CODEC, "reconstruction/latent=aligned", f"reconstruction.latent.aligned.embedder={file}",
                  "reconstruction/losses=perceptual", f"reconstruction.losses.perceptual.embedder={file}",
                  "optim.decay=constant", "ema.main.ramp=0.5"]


@pytest.fixture(scope="module")
def straight(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "straight"
    return run(path, *words[1], "trainer.max_steps=6", "validation.every=2")


@pytest.mark.parametrize("name", MODALITIES)
def test_what_looks_the_same_is_not_apart_and_what_is_apart_pulls_at_the_sample(name, tmp_path):
    judge, codec, shape = MODALITIES[name]
    loss = Perceptual(embedder=str(embedder(tmp_path / "judge.safetensors", judge, codec)))
    loss.open(codec)
    real, made = torch.randn(2, *shape).clamp(-1, 1), torch.randn(2, *shape, requires_grad=True)
    assert loss(Masked(real), Masked(real)).abs().max() == 0
    apart = loss(Masked(made), Masked(real))
    apart.sum().backward()
    assert apart.shape == (2,) and (apart > 0).all() and made.grad.abs().amax(tuple(range(1, made.ndim))).min() > 0
    mask = torch.ones(2, 1, *shape[1:], dtype=torch.bool)
    torch.testing.assert_close(loss(Masked(made, mask), Masked(real, mask)), apart)


def test_a_run_logs_both_goes_on_to_the_bits_and_leaves_nothing_of_them_in_its_file(words, straight, tmp_path):
    file, words = words
    told = {name: float(value) for name, value in rows(straight)[-1].items() if name.startswith("val/") and value}
    weights = {"squared": 4, "absolute": 0.1, "gradient": 0.1, "perceptual": 0.3, "aligned": 0.1, "penalty": 1}
    total = sum(weight * told[f"val/{name}"] for name, weight in weights.items())
    assert told["val/loss"] == pytest.approx(total, rel=1e-5) and told["val/perceptual"] > 0 < told["val/aligned"]
    run(tmp_path / "parted", *words, "trainer.max_steps=4", "validation.every=2")
    run(tmp_path / "parted", "trainer.max_steps=6")
    assert_same(straight, tmp_path / "parted", 6)
    saved = torch.load(latest(straight / "checkpoints")[0], weights_only=True)["state_dict"]
    assert any("latent_aligned.head" in name for name in saved), "what tells the features learns and is averaged"
    tensors = read_model_file(straight / "model.safetensors")[1]
    assert not any("head" in name or "look" in name for name in tensors)
    file.rename(file.with_name("moved"))
    try:
        assert load_learner(straight)[0].codec.channels == 4, "the codec does not need what it was asked through"
        with pytest.raises(ConfigError, match="there is no embedder .*judge.safetensors: make one"):
            run(tmp_path / "parted", "trainer.max_steps=8")
    finally:
        file.with_name("moved").rename(file)


def test_a_run_goes_on_through_no_other_judge_of_the_same_name(words, straight, tmp_path):
    file, kept = words[0], words[0].read_bytes()
    torch.manual_seed(1)
    Embedder(VideoJudge(), {"kind": ["a", "b"]}, channels=3).save(file, {})
    try:
        with pytest.raises(ValueError, match="is not the one that it began with: bring that back"):
            run(straight, "trainer.max_steps=8")
    finally:
        file.write_bytes(kept)


def test_the_mean_of_a_latent_learns_what_is_seen(tmp_path):
    judge, codec, shape = MODALITIES["films"]
    file = embedder(tmp_path / "judge.safetensors", judge, codec)
    task = Aligned(embedder=str(file))
    task.make(4, FilmCoder())
    task.open(codec)
    x, z = torch.rand(3, *shape), torch.randn(3, 4, 5, 2, 2, requires_grad=True)
    apart = task(z, x, z, lambda z, x: z.new_zeros(len(z)))
    seen = load_embedder(file, judge=judge).body(x)
    torch.testing.assert_close(apart, 1 - F.cosine_similarity(task.head(z.mean((2, 3, 4))), seen))
    apart.sum().backward()
    assert z.grad.abs().sum() > 0 and all(p.grad is not None for p in task.parameters())


def test_an_embedder_is_made_of_the_data_of_a_codec(straight, tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))
    assert embedder_command([str(straight), f"out={tmp_path / 'own.safetensors'}", "steps=2"]) == 0
    made = load_embedder(tmp_path / "own.safetensors", judge=VideoJudge(), settings={"channels": 3})
    assert set(made.fields) == {"shape", "colour", "speed"} and made.facts["n"] == 23


def test_a_judge_of_others_or_that_cannot_be_learned_through_is_refused(words, tmp_path):
    sounds = embedder(tmp_path / "sounds.safetensors", AudioJudge(), WaveCodec(8000))
    with pytest.raises(ConfigError, match="is an embedder for audio, this model makes video"):
        run(tmp_path / "run", *words[1], f"reconstruction.latent.aligned.embedder={sounds}", "trainer.max_steps=1")
    script = torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 3, 5, 16, 16))
    script.save(str(tmp_path / "own.pt"))
    with pytest.raises(ValueError, match="own.pt is not a file of mmdiff embedder"):
        Perceptual(embedder=str(tmp_path / "own.pt")).open(PixelCodec(3))

"""A learned codec of films: causal, any size, long ones in parts; trained, resumed, carried, cached, refused."""

import json
import math

import numpy as np
import pytest
import torch
from omegaconf import open_dict
from torch import nn

from mmdiff.adapters.autoencoder import Autoencoder
from mmdiff.adapters.bottlenecks import KL, Bounded
from mmdiff.adapters.coder import GridCoder
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.coder import FilmCoder
from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.cache.encode import encode
from mmdiff.cli.eval import main as judge
from mmdiff.config import plugins
from mmdiff.config.build import ConfigError
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.core.types import Masked
from mmdiff.data.batch import pad
from mmdiff.evaluation.embedders.embedder import Embedder
from mmdiff.evaluation.reconstruction import _channels, _spectrum
from mmdiff.generation.pipeline import load
from mmdiff.nn.causal import pass_on
from mmdiff.store import load_learner, read_model_file
from mmdiff.testing import AdapterContract, Trial
from mmdiff.testing.report import failure, laws
from mmdiff.training.train import train
from tests.training.test_resume import assert_same

FILMS = ["data=shapes", "data.n=24", "data.frames=5", "data.size=16", "loader.batch_size=4", "loader.val_samples=2",
         "log.every=1", "logger=csv", "trainer=cpu", "checkpoint.every=0", "validation.every=0", "preview.n=0"]
CODEC = ["experiment=video/codec", *FILMS, "adapter.codec.latent=4", "adapter.codec.coder.width=4",
         "adapter.codec.coder.stride=[2,4,4]", "adapter.codec.coder.multipliers=[1,2]"]
MODEL = ["adapter=video", *FILMS, "adapter.network.dim=32", "adapter.network.depth=1", "adapter.network.heads=2",
         "adapter.conditioner.dim=8", "trainer.max_steps=2"]


def run(path, *words):
    words = [f"run={path}", *map(str, words)]
    return train(composed("train", words), completed("train", words) if path.exists() else None)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "codec", *CODEC, "trainer.max_steps=6", "preview.n=2",
               "validation.every=6")


@pytest.fixture(scope="module")
def films(codec):
    return run(codec.parent / "films", *MODEL, f"codec={codec}")


def made(stride=(4, 8, 8), blocks=1, **settings):
    torch.manual_seed(0)
    coder = FilmCoder(stride=stride, width=4, multipliers=(1, 2, 2), blocks=blocks)
    return Autoencoder(PixelCodec(3), coder, latent=4, **settings).eval()


def encoded(codec, x):
    return codec.encode(Masked(x)).x


@torch.no_grad()
def test_halving_begins_as_means_and_doubling_as_copies():
    for c_in, c_out in ((4, 16), (12, 4), (8, 8), (12, 16)):
        weight = torch.zeros(c_out, c_in)
        pass_on(weight)
        x = torch.arange(float(c_in))
        assert weight.sum(1).allclose(torch.ones(c_out)) and (weight @ x).diff().min() >= 0    # means, in order
        assert c_out < c_in or c_out % c_in or torch.equal(weight @ x, x.repeat_interleave(c_out // c_in))


@torch.no_grad()
def test_a_later_frame_never_changes_an_earlier_latent_and_a_picture_is_a_film_of_one_frame():
    codec, x = made(), torch.randn(1, 3, 17, 16, 24)
    whole = encoded(codec, x)
    for frames in (1, 5, 9, 13):
        other = torch.cat([x[:, :, :frames], torch.randn(1, 3, 17 - frames, 16, 24)], 2)
        known = 1 + (frames - 1) // 4
        assert (encoded(codec, other) - whole)[:, :, :known].abs().max() == 0
        torch.testing.assert_close(encoded(codec, x[:, :, :frames]), whole[:, :, :known], atol=1e-5, rtol=0)
        assert (encoded(codec, other) - whole)[:, :, known:].abs().max() > 1e-3


@torch.no_grad()
def test_no_decoded_frame_sees_a_later_latent():
    codec, z = made(), torch.randn(1, 4, 6, 2, 2)
    other = torch.cat([z[:, :, :3], torch.randn(1, 4, 3, 2, 2)], 2)
    first, second = (codec.coder.decode(Masked(v)).x for v in (z, other))
    assert first.shape == (1, 3, 21, 16, 16) and torch.equal(first[:, :, :9], second[:, :, :9])


@torch.no_grad()
@pytest.mark.parametrize(("stride", "blocks"), [((4, 8, 8), 1), ((2, 8, 8), 2), ((1, 8, 8), 1)])
def test_a_film_decoded_in_parts_is_the_film_decoded_whole(stride, blocks):
    coder, z = made(stride, blocks).coder, torch.randn(1, 4, 31, 2, 2)
    whole = coder.decoder(z)
    coder.chunk = 5
    parts = coder.decode(Masked(z)).x
    assert (parts - whole).abs().max() <= 1e-5
    coder.reach = (coder.reach[0] - 1 or 1, 0)
    assert coder.reach == (1, 0) or (coder.decode(Masked(z)).x - whole).abs().max() > 1e-5    # and no more is looked at


@torch.no_grad()
@pytest.mark.parametrize(("stride", "blocks"), [((4, 8, 8), 1), ((2, 8, 8), 2), ((1, 8, 8), 1)])
def test_a_film_encoded_in_parts_is_the_film_encoded_whole(stride, blocks):
    coder, x = made(stride, blocks).coder, torch.randn(1, 3, 1 + 30 * stride[0], 16, 16)
    whole = coder.encoder(x)
    coder.chunk = 5
    assert (coder.encode(Masked(x)).x - whole).abs().max() <= 1e-5
    coder.sight = (coder.sight[0] - 1, 0)
    assert (coder.encode(Masked(x)).x - whole).abs().max() > 1e-5     # and no more is looked at


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 8, 8), (6, 17, 9), (8, 24, 40)])
def test_every_size_has_the_latents_that_are_promised_and_comes_back_in_its_own(size):
    codec, sample = made(), torch.randn(3, *size)
    latents = encoded(codec, sample[None])
    asked = codec.size(sample)
    assert codec.latent_shape(**asked) == latents.shape[2:]
    assert codec.decode_sized(Masked(latents), **asked).x.shape == (1, 3, *size)


@torch.no_grad()
@pytest.mark.parametrize("bottleneck", [KL(), Bounded()])
def test_a_sample_has_the_same_bits_in_any_batch(bottleneck):
    codec, clips = made(bottleneck=bottleneck), [torch.randn(3, 9, 16, 16), torch.randn(3, 5, 16, 8)]
    together = codec.encode(pad(clips))
    for row, clip in zip(together.x, clips, strict=True):
        alone = encoded(codec, clip[None])[0]
        assert torch.equal(row[:, : alone.shape[1], : alone.shape[2], : alone.shape[3]], alone)


def test_settings_that_do_not_go_together_are_refused():
    for settings in ({"stride": (4, 8, 4)}, {"stride": (3, 8, 8)}, {"multipliers": (1, 2)}, {"stride": (16, 8, 8)}):
        with pytest.raises(ValueError, match="stride"):
            FilmCoder(**settings)


def test_a_codec_run_shows_what_comes_back_and_its_file_holds_the_codec_alone(codec):
    header, tensors = read_model_file(codec / "model.safetensors")
    assert header["holds"] == "codec" and set(header["config"]) == {"adapter", "reconstruction", "size"}
    assert all(name.startswith("codec.") for name in tensors)
    assert len(list((codec / "previews" / "step-000000006").glob("*.mp4"))) == 4
    assert "val/absolute" in (codec / "metrics.csv").read_text().splitlines()[0]
    with pytest.raises(ModelFileError, match="holds a codec, and here a diffusion model is asked for"):
        load(codec)


def test_an_evaluation_says_what_a_codec_loses_and_what_its_latents_are_like(tmp_path, capsys):
    path = run(tmp_path / "codec", *CODEC, "trainer.max_steps=1", "loader.val=0.4")
    assert judge([str(path), "evaluation.n=8"]) == 0
    told = json.loads((path / "eval" / "codec.json").read_text())
    decoded, *noisy = told["rows"]
    assert {"PSNR, dB", "SSIM", "mean off", "gain, dB"} < set(decoded) and [row[""] for row in noisy] == [
        "noise 0.1", "noise 0.2", "noise 0.4"]
    assert len(told["latent"]["channels"]) == 4 and told["numbers"] == [3 * 5 * 16 * 16, 4 * 3 * 4 * 4]
    assert (path / "eval" / "codec.png").exists() and "What a codec loses: 8 held-out" in capsys.readouterr().out
    fields = {name: field for name, field in Shapes(n=1).known().items() if isinstance(field[0], str)}
    Embedder(VideoJudge(), fields, channels=3).save(tmp_path / "e.safetensors", {})
    assert judge([str(path), "evaluation.n=8", f"evaluation.embedder={tmp_path / 'e.safetensors'}"]) == 0
    real, decoded, *noisy = json.loads((path / "eval" / "codec.json").read_text())["rows"]
    assert real[""] == "real" and {f"{name} right" for name in fields} <= set(real) & set(decoded) & set(noisy[2])
    with pytest.raises(ConfigError, match="makes video: judge it with evaluation=video_v1"):
        judge([str(path), "evaluation=audio_v1"])
    with pytest.raises(ConfigError, match="sampler.steps=2: .* holds a codec"):
        judge([str(path), "sampler.steps=2"])


@torch.no_grad()
def test_what_an_evaluation_measures_of_latents_is_in_closed_form():
    noise = torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    ramp = torch.cos(2 * math.pi * torch.arange(32) / 32).expand(2, 8, 32, 32)
    assert all(abs(share - 0.5) < 0.1 for share in _spectrum([noise])) and _spectrum([ramp])[-1] < 1e-6
    same = torch.stack([noise[0], 3 * noise[0] + 2])
    rows = _channels([same])
    assert rows["correlation"] == pytest.approx(1) and rows["channels"][1]["mean"] == pytest.approx(2, abs=0.1)
    assert rows["channels"][1]["deviation"] == pytest.approx(3, rel=0.05)
    assert abs(rows["channels"][0]["excess kurtosis"]) < 0.1


def test_a_codec_run_goes_on_bit_for_bit(tmp_path):
    words = [*CODEC, "trainer.max_steps=14", "optim.decay=constant"]
    run(tmp_path / "straight", *words)
    run(tmp_path / "parted", *words[:-2], "trainer.max_steps=5", "optim.decay=constant")
    run(tmp_path / "parted", "trainer.max_steps=14")
    assert_same(tmp_path / "straight", tmp_path / "parted", 14)


def test_a_model_carries_its_codec_whole_and_unchanged(codec, films):
    header, tensors = read_model_file(films / "model.safetensors")
    own = read_header(codec / "model.safetensors")
    assert header["codec"] == {"name": "codec", "sha256": own["sha256"], "step": 6}
    there = read_model_file(codec / "model.safetensors")[1]
    kept = {name: value for name, value in there.items() if name.split(".")[1] not in ("mean", "std", "low", "high")}
    assert kept and all(torch.equal(tensors[name], value) for name, value in kept.items())
    assert header["config"]["adapter"]["codec"] == own["config"]["adapter"]["codec"]
    (sample,) = load(films, sampler={"_target_": "mmdiff.core.samplers.Euler", "steps": 1}).sample(1, frames=8)
    assert sample.shape == (3, 8, 16, 16)


def test_a_model_that_another_begins_with_brings_its_codec_and_the_name_of_it(codec, films, tmp_path):
    path = run(tmp_path / "more", f"init={films}", f"codec={codec}", *FILMS, "trainer.max_steps=1")
    path = run(tmp_path / "again", f"init={path}", *FILMS, "trainer.max_steps=1")
    run(path, "trainer.max_steps=2")
    assert read_header(path / "model.safetensors")["codec"] == read_header(films / "model.safetensors")["codec"]
    with pytest.raises(ConfigError, match="this run trains a codec itself: go on with that one by init="):
        run(tmp_path / "x", *CODEC[:-4], f"codec={codec}", "trainer.max_steps=1")


@pytest.mark.parametrize(("experiment", "loss"), [
    ("video", "sound"), ("video", "shapes"), ("audio", "shapes"), ("points", "pixels"), ("points", "spectra"),
])
def test_a_loss_that_cannot_compare_such_samples_is_refused(experiment, loss, tmp_path):
    data = {"video": "shapes", "audio": "notes", "points": "solids"}[experiment]
    with pytest.raises(ConfigError, match="compares? "):
        run(tmp_path / "x", f"experiment={experiment}/codec", f"data={data}", "data.n=8", f"reconstruction={loss}")


def test_a_small_change_that_was_told_the_codec_of_its_base_goes_on_to_the_bits_of_the_run_that_was_not_stopped(
    codec, films, tmp_path
):
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "model.safetensors").write_bytes((codec / "model.safetensors").read_bytes())
    words = [f"init={films}", f"codec={gone}", *FILMS, "lora=2"]
    whole = run(tmp_path / "whole", *words, "trainer.max_steps=2")
    part = run(tmp_path / "part", *words, "trainer.max_steps=2", "checkpoint.every=1")
    (part / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes())
    (part / "checkpoints" / "step-000000002.ckpt").unlink()
    (gone / "model.safetensors").unlink()
    run(part)
    (_, one), (_, two) = (read_model_file(path / "model.safetensors") for path in (whole, part))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_goes_on_without_the_file_of_its_codec(codec, films, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "model.safetensors").write_bytes((codec / "model.safetensors").read_bytes())
    path = run(tmp_path / "films", *MODEL, f"codec={gone}")
    (gone / "model.safetensors").unlink()
    run(path, "trainer.max_steps=3")
    header, tensors = read_model_file(path / "model.safetensors")
    assert header["step"] == 3 and header["codec"]["name"] == "gone"
    name = "codec.coder.decoder.1.weight"
    assert torch.equal(tensors[name], read_model_file(films / "model.safetensors")[1][name])


def test_a_run_on_cached_latents_is_the_run_that_encodes_and_another_codec_is_refused(codec, films, tmp_path):
    words = [*(word for word in MODEL if not word.startswith("data")), "adapter.reader.height=16",
             "adapter.reader.width=16", "adapter.reader.frames=5", f"codec={codec}"]
    clips, cache, data = tmp_path / "clips", str(tmp_path / "latents"), Shapes(n=10, frames=5, size=16)
    clips.mkdir()
    for i in range(len(data)):
        write_video(data.read(i)[0], clips / f"{i}.mkv", 8)
    encode(composed("encode", [f"out={cache}", *words, f"data.root={clips}"]), cache, progress=False)
    plain = run(tmp_path / "plain", *words, f"data.root={clips}")
    cached = run(tmp_path / "cached", *words, "data=latents", f"data.root={cache}")
    one, two = (load_learner(path)[0].state_dict() for path in (plain, cached))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    other = run(tmp_path / "other", *CODEC, "trainer.max_steps=1", "seed=1")
    start = [*words[:-1], f"data.root={clips}", f"init={plain}", "trainer.max_steps=1"]
    with pytest.raises(ConfigError, match="init=.* works on latents of its own codec, and codec=.*other is another"):
        run(tmp_path / "further", *start, f"codec={other}")
    run(tmp_path / "further", *start, f"codec={codec}")
    for name, words_of in {"whole": ["trainer.max_steps=1"], "change": ["lora=2", "trainer.max_steps=1"]}.items():
        one, two = (run(tmp_path / f"{name}{kind}", f"init={cached}", *FILMS[4:], *words_of, *data_of)
                    for kind, data_of in {"plain": ["data=folder", f"data.root={clips}"],
                                          "cached": ["data=latents", f"data.root={cache}"]}.items())
        (two / "model.safetensors").unlink()
        for path in (one, two):
            run(path, "trainer.max_steps=2")
        named, again = (read_header(path / "model.safetensors")["codec"] for path in (one, two))
        assert named == again
        one, two = (load_learner(path)[0].state_dict() for path in (one, two))
        assert all(torch.equal(one[key], two[key]) for key in one), "what begins with a model knows its latents again"
    with pytest.raises(ConfigError, match="these latents were encoded with other settings: adapter.weights"):
        run(tmp_path / "mixed", *words[:-1], f"codec={other}", "data=latents", f"data.root={cache}")
    with pytest.raises(ConfigError, match="an Autoencoder that has learned nothing: train it"):
        encode(composed("encode", [f"out={cache}", "adapter=video_codec", f"data.root={clips}"]), cache)
    with pytest.raises(ConfigError, match="data=latents are what a codec made of samples"):
        run(tmp_path / "x", *(word for word in CODEC if not word.startswith("data")), "data=latents",
            f"data.root={cache}")


def test_a_codec_of_other_samples_or_settings_is_refused_by_name(codec, films, tmp_path):
    for word in ("adapter.codec.fps=15.0", "adapter.codec.background=white"):
        with pytest.raises(ConfigError, match=rf"{word.split('=')[0]}: codec=.* has its own settings"):
            run(tmp_path / "x", *MODEL, f"codec={codec}", word)
    with pytest.raises(ConfigError, match="is of samples that VideoReader reads, and adapter.reader is AudioReader"):
        run(tmp_path / "x", "adapter=audio", f"codec={codec}")
    digits = {f"{axis}_{part}": np.zeros((4, 28, 28) if axis == "x" else 4, np.uint8)
              for axis in "xy" for part in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **digits)
    grey = ["data=moving_digits", f"data.root={tmp_path}", "data.frames=5", "data.size=16", "data.digit=8"]
    with pytest.raises(ConfigError, match=r"codec=.*made for 3 channels, and samples \(1, 5, 16, 16\) have 1"):
        run(tmp_path / "x", *(word for word in MODEL if not word.startswith("data")), *grey, f"codec={codec}")
    with pytest.raises(ConfigError, match="keeps codec="):
        run(films, f"codec={films}")
    with pytest.raises(ModelFileError, match="no model at nowhere"):
        run(tmp_path / "x", *MODEL, "codec=nowhere")


class Halves(GridCoder):
    """A coder of another package: means of 2 x 2 pixels, mixed."""

    stride, reach = (1, 2, 2), (0, 0)

    def make(self, channels, latent, moments):
        self.encoder = nn.Sequential(nn.AvgPool3d((1, 2, 2)), nn.Conv3d(channels, moments * latent, 1))
        self.decoder = nn.Sequential(nn.Conv3d(latent, channels, 1), nn.Upsample(scale_factor=(1, 2, 2)))


def test_a_coder_of_another_package_goes_through_the_same_door(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "packages", lambda: ["tests"])
    config = composed("train", [f"run={tmp_path / 'codec'}", *CODEC, "trainer.max_steps=2"])
    with open_dict(config):
        config.adapter.codec.coder = {"_target_": f"{__name__}.Halves"}
    codec = train(config)
    path = run(tmp_path / "films", *MODEL, f"codec={codec}")
    model, header = load_learner(path)
    assert isinstance(model.codec.coder, Halves) and header["codec"]["name"] == "codec"
    assert model.codec.latent_shape(frames=5, height=16, width=16) == (5, 8, 8)
    assert model.network.patch == (2, 4, 4)                           # of (2, 8, 8) pixels, by the codec's stride
    monkeypatch.setattr(AdapterContract, "lossy", 10.0)               # it has learned for two steps
    trial = Trial("video", [*MODEL[1:-1], "adapter.reader.frames=5", f"codec={codec}"], tmp_path)
    broken = {name: fault for name, law in laws().items() if "processes" not in name
              and (fault := failure(law, trial)) is not None}
    assert not broken, broken


def test_a_learned_codec_keeps_the_laws_of_adapters(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(AdapterContract, "lossy", 10.0)               # it has learned for six steps
    words = [*MODEL[1:-1], "adapter.reader.frames=5", f"codec={codec}"]
    trial = Trial("video", words, tmp_path)
    broken = {name: fault for name, law in laws().items() if "processes" not in name
              and (fault := failure(law, trial)) is not None}
    assert not broken, broken


def test_a_codec_goes_on_to_learn_from_another_and_does_not_become_a_model(codec, films, tmp_path):
    path = run(tmp_path / "more", f"init={codec}", *FILMS, "train.only=[decoder]", "trainer.max_steps=2")
    (old, _), (new, header) = (load_learner(one) for one in (codec, path))
    same = {name: torch.equal(value, new.state_dict()[name]) for name, value in old.state_dict().items()}
    assert all(value for name, value in same.items() if "encoder" in name)
    assert not all(value for name, value in same.items() if "decoder" in name) and header["bases"][0]["step"] == 6
    with pytest.raises(ConfigError, match="lora has no effect on what reconstruction trains"):
        run(tmp_path / "x", f"init={codec}", *FILMS, "lora=2")
    with pytest.raises(ConfigError, match="holds a codec, and this run trains a diffusion model|but one of"):
        run(tmp_path / "x", f"init={codec}", *FILMS, "diffusion=flow", "reconstruction=null", "adapter=video",
            "sampler=auto", "guidance=cfg")

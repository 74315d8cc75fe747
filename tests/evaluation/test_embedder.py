"""Embedders: learned from labels, the same each time, stored with their score, or a user's own file."""

import json
from types import SimpleNamespace

import onnx
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from mmdiff.adapters.audio.judge import AudioJudge
from mmdiff.adapters.points.judge import PointJudge
from mmdiff.adapters.series.judge import SeriesJudge
from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.data.dataset import Dataset
from mmdiff.evaluation import evaluated
from mmdiff.evaluation.embedders import fitting
from mmdiff.evaluation.embedders.embedder import Embedder, load_embedder
from mmdiff.evaluation.embedders.fitting import fit, scored

JUDGES = {judge.name: judge for judge in (AudioJudge(), VideoJudge(), PointJudge(), SeriesJudge())}
SETTINGS = {"audio": {"sample_rate": 8000}, "video": {"channels": 1}, "points": {}, "series": {"channels": 2}}
SHAPES = {"audio": (1, 2000), "video": (1, 4, 16, 16), "points": (3, 64), "series": (2, 48)}


def samples(kind, n=40):
    """Two kinds of samples that are easily told apart, with their labels."""
    generator = torch.Generator().manual_seed(0)
    x, true = torch.randn(n, *SHAPES[kind], generator=generator), torch.arange(n) % 2
    if kind == "audio":
        x[true == 1] = torch.sin(torch.arange(2000) * 0.4)
    else:
        x[true == 1] *= torch.linspace(0.1, 1, x.shape[-1])
    return x, {"kind": true}


@pytest.fixture(scope="module", params=list(JUDGES))
def fitted(request):
    x, labels = samples(request.param)
    fields = {"kind": ["a", "b"]}
    told = {"judge": JUDGES[request.param], "fields": fields, "settings": SETTINGS[request.param]}
    return request.param, fit(x, labels, **told, steps=60, batch=16), x, labels


def test_it_learns_the_labels_and_is_the_same_each_time(fitted):
    kind, model, x, labels = fitted
    assert scored(model, x, labels)["kind"] > 0.9
    if kind == "points":
        again = fit(x, labels, judge=JUDGES[kind], fields={"kind": ["a", "b"]}, settings={}, steps=60, batch=16)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_stored_one_judges_as_the_one_that_was_trained(fitted, tmp_path):
    kind, model, x, _ = fitted
    digest = model.save(tmp_path / "judge.safetensors", {"held out": {"kind": 1.0}})
    other = load_embedder(tmp_path / "judge.safetensors", judge=JUDGES[kind])
    a, b = model.judge(x[:7]), other.judge(x[:7], batch=3)
    torch.testing.assert_close(a.features, b.features)
    torch.testing.assert_close(a.probabilities["kind"], b.probabilities["kind"])
    assert (a.frames is None) == (kind != "video") and a.features.shape == (7, 128)
    assert other.facts["sha256"] == digest and other.facts["held out"] == {"kind": 1.0}


def test_training_ends_where_a_cycle_gains_nothing_and_goes_on_where_it_does(monkeypatch):
    x, labels = samples("points", 80)
    told = {"judge": JUDGES["points"], "fields": {"kind": ["a", "b"]}, "settings": {}, "steps": 40, "batch": 8}
    monkeypatch.setattr(fitting, "CYCLE", 10)
    for losses, taken in (([3.0, 2.0, 1.0, 0.5], 40), ([3.0, 1.0, 0.99, 0.5], 30), ([3.0, 4.0], 20)):
        weights, ends = [], iter(losses)

        def held(model, *rest, ends=ends, weights=weights):
            weights.append([value.clone() for value in model.state_dict().values()])
            return next(ends)

        monkeypatch.setattr(fitting, "_validation_loss", held)
        model = fit(x, labels, **told)
        best = weights[min(range(taken // 10), key=losses.__getitem__)]
        assert model.facts == {"steps": taken}
        assert all(map(torch.equal, model.state_dict().values(), best)), "the weights of the smallest loss"


class Clouds(Dataset):
    """Clouds of two kinds."""

    fields = {"kind": ["a", "b"]}  # noqa: RUF012

    def __init__(self, n):
        self.x, self.true = samples("points", n)[0], ["a", "b"] * (n // 2)

    def __len__(self):
        return len(self.x)

    def name(self, index):
        return str(index)

    def read(self, index, rng=None):
        return self.x[index], {"kind": self.true[index]}


def test_one_of_the_same_samples_and_settings_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))
    fits = []
    monkeypatch.setattr(evaluated, "fit", lambda *args, **told: fits.append(told["steps"]) or fit(*args, **told))
    model = SimpleNamespace(codec=SimpleNamespace(modality=None), conditioner=SimpleNamespace(fields=Clouds.fields))
    pipeline = SimpleNamespace(model=model, size={"points": 64})

    def made(name, *, n=16, **told):
        run = evaluated.EvaluatedRun(pipeline, Clouds(n), Clouds(8))
        return evaluated.train_embedder(run, JUDGES["points"], tmp_path / f"{name}.safetensors", **told)

    first, again = made("one", steps=3), made("two", steps=3)
    assert fits == [3] and first.facts == again.facts and first.facts["steps"] == 3
    assert load_embedder(tmp_path / "two.safetensors", judge=JUDGES["points"]).facts == first.facts
    made("other", steps=4), made("more", steps=3, n=18)
    assert fits == [3, 4, 3], "other settings and other samples are another embedder"
    for file in (tmp_path / "cache" / "embedders").glob("*.safetensors"):
        file.write_bytes(b"x")
    made("three", steps=3)
    assert fits == [3, 4, 3, 3], "a damaged one is trained anew"


def test_scalars_are_learned_in_their_unit():
    x = torch.randn(64, 3, 32, generator=torch.Generator().manual_seed(0))
    height = torch.linspace(1, 3, 64)
    x[:, 1] *= (height / 3)[:, None]
    labels, fields = {"height": height}, {"height": [1.0, 3.0]}
    model = fit(x, labels, judge=JUDGES["points"], fields=fields, settings={}, steps=60, batch=32)
    assert scored(model, x, labels)["height, mean error"] < 0.35, "half of the 0.5 of a constant guess and more"
    assert not model.classes


def test_without_labels_features_are_random_and_no_class_is_claimed():
    model = fit(torch.randn(8, 3, 32), {}, judge=JUDGES["points"], fields={}, settings={})
    assert model.judge(torch.randn(5, 3, 32)).features.shape == (5, 128)
    assert scored(model, torch.randn(5, 3, 32), {}) == {}


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "judge.safetensors"
    Embedder(JUDGES["points"], {"kind": ["a", "b"]}).save(path, {})
    with pytest.raises(ValueError, match="for points, this model makes audio"):
        load_embedder(path, judge=JUDGES["audio"])
    Embedder(JUDGES["series"], {}, channels=2).save(tmp_path / "two.safetensors", {})
    with pytest.raises(ValueError, match=r"of \{'channels': 2\}, and this model makes such of \{'channels': 3\}"):
        load_embedder(tmp_path / "two.safetensors", judge=JUDGES["series"], settings={"channels": 3})
    weights = load_file(path)
    weights["heads.of_kind.bias"] += 1
    save_file(weights, path, {"embedder": json.dumps({
        "judge": "points", "settings": {}, "fields": {"kind": ["a", "b"]}, "sha256": "0",
    })})
    with pytest.raises(ValueError, match="damaged"):
        load_embedder(path, judge=JUDGES["points"])
    save_file(weights, path)
    with pytest.raises(ValueError, match="not written by mmdiff embedder"):
        load_embedder(path, judge=JUDGES["points"])
    refused = {"no.safetensors": "there is no embedder", "a.bin": "got a.bin", "a.pt": "TorchScript"}
    for name, match in refused.items():
        if name != "no.safetensors":
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=match):
            load_embedder(tmp_path / name, judge=JUDGES["points"])


def test_a_torchscript_file_gives_features_and_must_give_them_per_sample(tmp_path):
    torch.jit.script(torch.nn.Flatten(1)).save(str(tmp_path / "mine.pt"))
    x = torch.randn(5, 3, 4)
    judged = load_embedder(tmp_path / "mine.pt", judge=JUDGES["points"]).judge(x, batch=2)
    assert torch.equal(judged.features, x.flatten(1)) and judged.probabilities == {}
    torch.jit.script(torch.nn.Flatten(0)).save(str(tmp_path / "wrong.pt"))
    with pytest.raises(ValueError, match=r"must give features \(N, D\)"):
        load_embedder(tmp_path / "wrong.pt", judge=JUDGES["points"]).judge(x)


def test_an_onnx_file_gives_features(tmp_path):
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["y"], axis=1)], "flat",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 12])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, str(tmp_path / "mine.onnx"))
    x = torch.randn(5, 3, 4)
    assert torch.equal(load_embedder(tmp_path / "mine.onnx", judge=JUDGES["points"]).judge(x).features, x.flatten(1))


TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_a_clap_of_transformers_hears_sound_at_its_own_rate(tmp_path):
    audio = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16,
             "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "num_hidden_layers": 2, "patch_size": 4}
    config = transformers.ClapConfig(audio_config=audio, text_config={**TINY, "vocab_size": 9}, projection_dim=12)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, max_length_s=1, fft_window_size=512, hop_length=240, truncation="rand_trunc"
    )
    for part in (transformers.ClapModel(config), extractor):
        part.save_pretrained(tmp_path / "clap")
    tones = torch.sin(torch.arange(12000) * torch.tensor([0.1, 0.1, 0.3])[:, None])[:, None]
    judge = load_embedder(tmp_path / "clap", judge=JUDGES["audio"], settings={"sample_rate": 8000})
    features = judge.judge(tones, batch=2).features
    assert features.shape == (3, 12) and torch.equal(features, judge.judge(tones, batch=2).features)
    torch.testing.assert_close(features[0], features[1])
    assert (features[0] - features[2]).abs().max() > 1e-3
    assert judge.facts["file"] == "clap" and len(judge.facts["sha256"]) == 64 and judge.texts is None
    words = Tokenizer(models.WordLevel({"<pad>": 1, "<unk>": 0, "low": 2, "high": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(
        tmp_path / "clap")
    both = load_embedder(tmp_path / "clap", judge=JUDGES["audio"], settings={"sample_rate": 8000})
    read = both.texts(["low", "high low"])
    assert read.shape == (2, 12) and torch.allclose(read[0], both.texts(["low"])[0], atol=1e-5)    # beside padding
    assert (read[0] - read[1]).abs().max() > 1e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_a_videomae_of_transformers_sees_clips_of_any_length(tmp_path, channels):
    config = transformers.VideoMAEConfig(image_size=32, patch_size=16, num_frames=4, tubelet_size=2, **TINY)
    processor = transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    for part in (transformers.VideoMAEModel(config), processor):
        part.save_pretrained(tmp_path)
    judge = load_embedder(tmp_path, judge=JUDGES["video"], settings={"channels": channels})
    for frames in (3, 9):
        x = torch.rand(2, channels, frames, 24, 40) * 2 - 1
        features = judge.judge(x).features
        assert features.shape == (2, 16) and (features[0] - features[1]).abs().max() > 1e-4


def test_a_folder_that_is_no_model_and_a_modality_without_any_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no model that transformers can load"):
        load_embedder(tmp_path, judge=JUDGES["audio"], settings={"sample_rate": 8000})
    with pytest.raises(ValueError, match="does not judge points"):
        load_embedder(tmp_path, judge=JUDGES["points"])


def test_fields_may_have_any_name(tmp_path):
    fields = {"a.b": ["x", "y"], "": [0.0, 1.0], "type": ["x"]}
    Embedder(JUDGES["points"], fields).save(tmp_path / "judge.safetensors", {})
    judged = load_embedder(tmp_path / "judge.safetensors", judge=JUDGES["points"]).judge(torch.randn(3, 3, 64))
    assert {name: tuple(p.shape) for name, p in judged.probabilities.items()} == {"a.b": (3, 2), "type": (3, 1)}

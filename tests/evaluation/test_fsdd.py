"""Classifiers and scores of spoken digits, on tones that stand for them and on the real recordings."""

import json
import sys
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import shared_data

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "fsdd"))
import classifiers
import features
import score


def tone(digit: str, speaker: str, index: int) -> np.ndarray:
    """A chord whose upper note is the digit and whose lower note is the speaker."""
    rng = np.random.default_rng(index)
    t = np.arange(3000 + 100 * index) / features.RATE
    high, low = 1000 + 250 * int(digit), 150 + 100 * features.CLASSES["speaker"].index(speaker)
    y = np.sin(2 * np.pi * high * t + rng.random()) + np.sin(2 * np.pi * low * t) + 0.02 * rng.standard_normal(len(t))
    return 0.2 * y


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    for digit, speaker, index in product(*features.CLASSES.values(), (0, 1, 5, 6, 7)):
        soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", tone(digit, speaker, index), features.RATE)
    return folder


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("classifiers")
    clips = features.recordings(tones, "train")
    for field in features.CLASSES:
        model = classifiers.train(field, clips, seed=0, epochs=10, batch=20)
        features.save(model, out / f"{field}.safetensors", {"field": field, "accuracy": 1.0})
    return out


def test_clips_have_one_length_and_peak():
    for size in (10, features.SIZE, 20000):
        wave = features.fitted(0.1 * torch.randn(size))
        assert wave.shape == (features.SIZE,)
        assert wave.abs().max() == pytest.approx(1)
    assert not features.fitted(torch.zeros(10)).any()


def test_a_damaged_foreign_or_missing_classifier_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="train it first"):
        features.load(tmp_path, "digit")
    path = tmp_path / "digit.safetensors"
    sha256 = features.save(features.Classifier(10), path, {"seed": 0})
    model, facts = features.load(tmp_path, "digit")
    assert facts == {"seed": 0, "front_end": asdict(features.FRONT_END), "sha256": sha256}
    assert features.digest(model.state_dict()) == sha256
    with monkeypatch.context() as other:
        other.setattr(features, "FRONT_END", replace(features.FRONT_END, floor=0.5))
        with pytest.raises(ValueError, match=r"another front end \(floor 0.001 != 0.5\)"):
            features.load(tmp_path, "digit")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        features.load(tmp_path, "digit")


def test_training_is_fixed_by_its_seed(tones):
    clips = features.recordings(tones, "train")
    digests = [features.digest(classifiers.train("digit", clips, seed=s, epochs=1).state_dict()) for s in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_scores_rank_real_clips_copies_and_controls(tones, trained, tmp_path, monkeypatch, capsys):
    made = tmp_path / "made"
    made.mkdir()
    for digit, speaker in product(*features.CLASSES.values()):
        path = made / f"{digit}-{speaker}.wav"
        soundfile.write(path, tone(digit, speaker, 9), features.RATE)
        path.with_suffix(".json").write_text(json.dumps({"labels": {"digit": int(digit), "speaker": speaker}}))
    out = tmp_path / "report.json"
    arguments = ["--data", tones, "--classifiers", trained, "--generated", made, "--out", out]
    monkeypatch.setattr(sys, "argv", ["score.py", *map(str, arguments)])
    score.main()
    rows = json.loads(out.read_text())["rows"]
    real, copy, flat, noise, ours = rows.values()
    assert list(rows)[-1] == str(made)
    assert real["n"] == copy["n"] == noise["n"] == 120
    assert flat["n"] == 300
    assert ours["n"] == 60
    for field in features.CLASSES:
        assert real[field]["value"] > 0.95
        assert ours[field]["value"] > 0.95
        assert noise[field]["value"] < 0.4
        assert np.trace(real["confusion"][field]) == round(real[field]["value"] * 120)
    assert real["FD-digit"] < noise["FD-digit"]
    assert flat["spread"]["value"] == 0 < real["spread"]["value"]
    assert "| control: mean mel | 300 |" in capsys.readouterr().out


def test_what_cannot_be_scored_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no train recordings .* is it FSDD's folder"):
        features.recordings(tmp_path, "train")
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    with pytest.raises(ValueError, match=r"a\.wav has 16000 Hz"):
        features.read_wave(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"unknown speaker \['bob'\]"):
        features.Clips.of([torch.ones(9)], ["1"], ["bob"])


def test_the_real_recordings_split_into_2700_and_300():
    data = shared_data("audio", "fsdd", "recordings")
    train, test = features.recordings(data, "train"), features.recordings(data, "test")
    assert (len(train.waves), len(test.waves)) == (2700, 300)
    for clips, each in ((train, 45), (test, 5)):
        groups = torch.bincount(6 * clips.digit + clips.speaker, minlength=60)
        assert groups.tolist() == [each] * 60

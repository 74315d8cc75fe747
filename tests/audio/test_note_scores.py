"""Scores of notes whose truth is known."""

import json

import pytest
import torch

from mmdiff.adapters.audio.io import write_audio
from mmdiff.adapters.audio.notes import INSTRUMENTS
from mmdiff.adapters.audio.score_notes import FITTED, InstrumentClassifier, listen, main, summary, synthesised, timbre

RATE, SECONDS = 8000, 0.5


@pytest.fixture(scope="module")
def classifier():
    return InstrumentClassifier(synthesised(FITTED, sample_rate=RATE, seconds=SECONDS), RATE)


@pytest.fixture(scope="module")
def notes():
    return synthesised(range(400, 430), sample_rate=RATE, seconds=SECONDS)


def test_notes_made_by_code_are_all_right(classifier, notes):
    row = summary(listen(notes, classifier))
    assert row["n"] == 30
    assert row["instrument"].value == row["within 50 cents"].value == 1
    assert row["median cents"].value < 5
    assert row["no pitch"] == row["clipped"] == 0


def test_a_wrong_instrument_and_a_wrong_pitch_are_heard(classifier, notes):
    swapped = [note._replace(instrument=INSTRUMENTS[INSTRUMENTS.index(note.instrument) - 1]) for note in notes]
    assert summary(listen(swapped, classifier))["instrument"].value == 0
    sharp = summary(listen([note._replace(pitch=note.pitch - 1) for note in notes], classifier))
    assert sharp["median cents"].value == pytest.approx(100, abs=3)
    assert sharp["within 50 cents"].value == 0
    assert sharp["instrument"].value == 1


def test_noise_and_silence_have_no_pitch(classifier, notes):
    generator = torch.Generator().manual_seed(0)
    noise = [note._replace(sample=0.1 * torch.randn(1, 4000, generator=generator)) for note in notes[:5]]
    silence = [note._replace(sample=torch.zeros(1, 4000)) for note in notes[:5]]
    row = summary(listen(noise + silence, classifier))
    assert row["within 50 cents"].value == 0
    assert row["no pitch"] >= 5


def test_timbre_does_not_depend_on_the_level(notes):
    for note in notes:
        torch.testing.assert_close(timbre(0.03 * note.sample, RATE), timbre(note.sample, RATE), atol=1e-4, rtol=0)


def test_a_folder_is_scored_by_instrument(tmp_path, capsys, notes):
    for i, note in enumerate(notes[:9]):
        write_audio(note.sample, tmp_path / f"{i}.wav", RATE)
        facts = {"labels": {"instrument": note.instrument, "pitch": note.pitch}}
        (tmp_path / f"{i}.json").write_text(json.dumps(facts))
    assert main([str(tmp_path), "--out", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == ["real", "generated", *(f"generated, {name}" for name in sorted(INSTRUMENTS))]
    assert report["generated"]["n"] == 9
    assert report["generated"]["instrument"]["value"] == 1
    assert "| generated | 9 | 1 [0.701, 1]" in capsys.readouterr().out


def test_a_folder_without_notes_is_refused_by_name(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err

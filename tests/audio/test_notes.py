"""The built-in notes, and what is measured of them."""

import time

import numpy as np
import pytest
import torch

from mmdiff.adapters.audio.captioned_notes import COMBINATIONS, CaptionedNotes
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.measure import cents, clipped, pitch, rms, silent, spectral_flatness
from mmdiff.adapters.audio.notes import INSTRUMENTS, Notes, frequency


def made(n=90, rate=8000, seconds=1.0, **more):
    return Notes(AudioReader(rate, seconds=seconds), n=n, **more)


@pytest.mark.parametrize("rate", [8000, 22050])
@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_the_pitch_that_is_measured_is_the_pitch_that_was_meant(rate, instrument):
    notes = made(30, rate)
    for i in range(INSTRUMENTS.index(instrument), 30, 3):
        sample, labels = notes.read(i)
        assert labels["instrument"] == instrument
        assert abs(cents(pitch(sample, rate), frequency(labels["pitch"]))) < 10


def test_a_note_is_fixed_by_its_seed_and_index():
    x, labels = made().read(7)
    again, _ = made(8).read(7, np.random.default_rng(0))
    other, _ = made(seed=1).read(7)
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    assert made().column(7) == labels


def test_notes_are_finite_of_full_level_and_end_in_silence():
    for i in range(90):
        x, _ = made().read(i)
        assert x.shape == (1, 8000)
        assert x.dtype == torch.float32
        assert torch.isfinite(x).all()
        assert x.abs().max() == pytest.approx(0.9)
        assert x[0, -1].abs() < 0.01


def test_labels_lie_in_the_fields():
    notes = made(low=50, high=60)
    rows = [notes.read(i)[1] for i in range(90)]
    assert {row["instrument"] for row in rows} == set(notes.fields["instrument"])
    low, high = notes.fields["pitch"]
    pitches = [row["pitch"] for row in rows]
    assert low <= min(pitches) < low + 1
    assert high - 1 < max(pitches) <= high


def test_names_differ():
    assert len({made().name(i) for i in range(90)}) == 90


def test_a_note_is_made_fast():
    notes = made()
    notes.read(0)
    start = time.process_time()
    for i in range(90):
        notes.read(i)
    assert (time.process_time() - start) / 90 < 0.01                  # 1.2 ms where it was written; machines differ


@pytest.mark.parametrize(
    ("wrong", "match"), [({"n": 0}, "n is"), ({"low": 60, "high": 60}, "low"), ({"high": 110}, "quarter")]
)
def test_settings_that_make_no_sense_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        made(**wrong)


def test_a_reader_without_length_is_refused():
    with pytest.raises(ValueError, match="seconds"):
        Notes(AudioReader(8000))


@pytest.mark.parametrize("hz", [65.4, 130.8, 440.0, 1046.5])
def test_pitch_of_a_tone_and_of_a_missing_fundamental(hz):
    t = torch.arange(8000) / 8000
    tone = torch.sin(2 * torch.pi * hz * t)
    assert abs(cents(pitch(tone[None], 8000), hz)) < 2
    upper = sum(torch.sin(2 * torch.pi * k * hz * t) for k in (2, 3))
    assert abs(cents(pitch(upper[None], 8000), hz)) < 2


def test_pitch_of_what_has_none_is_nan():
    noise = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert np.isnan(pitch(noise, 8000))
    assert np.isnan(pitch(torch.zeros(1, 8000), 8000))
    assert np.isnan(pitch(torch.ones(1, 5), 8000))


def test_levels_have_their_closed_forms():
    t = torch.arange(8000) / 8000
    tone = torch.sin(2 * torch.pi * 500 * t)[None]
    noise = torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0))
    assert rms(tone) == pytest.approx(0.5**0.5)
    assert spectral_flatness(tone) < 1e-3
    assert spectral_flatness(noise) == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    assert silent(torch.tensor([[0.0, 0.5, 0.0, 1.0]])) == 0.5
    assert clipped(torch.tensor([[0.0, 0.5, -1.0, 1.0]])) == 0.5


def test_a_lone_click_has_no_pitch():
    click = torch.zeros(1, 6144)
    click[0, 1000] = 1
    assert np.isnan(pitch(click, 8000))


def test_the_combination_that_is_held_out_is_the_one_that_is_named():
    data = CaptionedNotes(AudioReader(8000, seconds=0.5), n=180, pair=["blown", "low"])
    parts = {kind: set() for kind in COMBINATIONS}
    for i in range(180):
        column = data.column(i)
        parts[column["instrument"], column["height"]].add(column["part"])
    assert parts.pop(("blown", "low")) == {"pair"}
    assert all(part == {"train", "seen"} for part in parts.values())
    with pytest.raises(ValueError, match="pair is one of .*'struck'.* and one of .*'high'.*, got"):
        CaptionedNotes(AudioReader(8000, seconds=0.5), pair=["low", "blown"])

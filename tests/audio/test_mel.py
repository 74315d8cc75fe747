"""Presets against independent implementations, and the laws of frames."""

import math

import numpy as np
import pytest
import torch
import torchaudio

from mmdiff.adapters.audio.mel import PRESETS, LogMel, MelSpec, mirror


def clip(size, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, size))).float() * 0.1


def lengths(*values):
    return torch.tensor(values)


@pytest.mark.parametrize("name", [n for n in PRESETS if PRESETS[n].centre == "start"])
def test_centred_presets_equal_torchaudio(name):
    spec, x = MelSpec.named(name), clip(10_007)
    reference = torchaudio.transforms.MelSpectrogram(
        spec.sample_rate, spec.n_fft, spec.win_length, spec.hop_length, spec.f_min, spec.f_max, n_mels=spec.n_mels,
        power=spec.power, norm=spec.norm, mel_scale=spec.mel_scale, center=True, pad_mode="reflect",
    )(x).clamp(min=spec.floor).log()
    ours = LogMel(spec)(x, lengths(10_007))
    assert ours.shape[-1] == math.ceil(10_007 / spec.hop_length)
    torch.testing.assert_close(ours, reference[..., : ours.shape[-1]], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["hifigan_22k", "bigvgan_44k", "audioldm_16k"])
def test_hifigan_like_presets_equal_the_published_formula(name):
    spec, size = MelSpec.named(name), 10_240 - 10_240 % PRESETS[name].hop_length
    x = clip(size)[0].double().numpy()
    padded = np.pad(x, (spec.n_fft - spec.hop_length) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[:: spec.hop_length]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.n_fft) / spec.n_fft)
    magnitude = np.sqrt(np.abs(np.fft.rfft(frames * hann)) ** 2 + 1e-9)
    reference = np.log(np.maximum(slaney(spec) @ magnitude.T, 1e-5))
    ours = LogMel(spec)(clip(size), lengths(size))[0]
    assert ours.shape == reference.shape == (spec.n_mels, size // spec.hop_length)
    assert np.abs(ours.numpy() - reference).max() < 1e-3


def slaney(spec):
    """Slaney's Auditory Toolbox filters (1998): linear to 1 kHz, then 27 steps to a factor of 6.4; unit area."""
    step = math.log(6.4) / 27
    to_mel = lambda f: f * 3 / 200 if f < 1000 else 15 + math.log(f / 1000) / step  # noqa: E731
    to_hz = lambda m: m * 200 / 3 if m < 15 else 1000 * math.exp(step * (m - 15))  # noqa: E731
    edges = np.array([to_hz(m) for m in np.linspace(to_mel(spec.f_min), to_mel(spec.f_max), spec.n_mels + 2)])
    f = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate / spec.n_fft
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangle = np.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clip(0)
    return triangle * 2 / (right - left)


@pytest.mark.parametrize("name", PRESETS)
def test_no_filter_of_a_preset_is_empty(name):
    assert (MelSpec.named(name).basis().sum(1) > 0).all()


@pytest.mark.parametrize("name", PRESETS)
def test_frames_and_samples_are_exact_inverses(name):
    spec = MelSpec.named(name)
    for n in (1, 2, 7, 100):
        assert spec.frames(spec.samples(n)) == n == spec.frames(spec.samples(n) - 1)
        assert spec.frames(spec.samples(n) + 1) == n + 1


@pytest.mark.parametrize("name", PRESETS)
def test_frames_do_not_depend_on_what_follows_a_clip(name):
    spec = MelSpec.named(name)
    size = 5 * spec.hop_length + 3
    x, log_mel = clip(size), LogMel(spec)
    alone = log_mel(x, lengths(size))
    for more in (1, spec.hop_length, 10 * spec.n_fft):
        padded = torch.cat([x, torch.full((1, more), float("nan"))], 1)
        torch.testing.assert_close(log_mel(padded, lengths(size))[..., : alone.shape[-1]], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_clips_shorter_than_a_window_have_finite_frames(size):
    assert torch.isfinite(LogMel(MelSpec.named("hifigan_22k"))(clip(size), lengths(size))).all()


def test_mirror_is_numpy_reflection():
    for n in (1, 2, 3, 7):
        expected = np.pad(np.arange(n), 20, mode="reflect" if n > 1 else "edge")
        assert mirror(torch.arange(-20, n + 20), torch.tensor(n)).tolist() == expected.tolist()


def test_a_difference_names_every_field_with_both_values():
    a, b = MelSpec.named("hifigan_22k"), MelSpec.named("vocos_24k")
    assert a.difference(a) == ""
    for part in ("sample_rate 22050 != 24000", "n_mels 80 != 100", "norm slaney != None", "centre middle != start"):
        assert part in a.difference(b)
    assert "hop_length" not in a.difference(b)


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(ValueError, match=r"speech_8k, .*bigvgan_44k"):
        MelSpec.named("speech_9k")


@pytest.mark.parametrize(
    "wrong", [{"hop_length": 200}, {"f_max": 5000}, {"floor": 0.0}, {"centre": "end"}, {"win_length": 512}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MelSpec(**{"sample_rate": 8000, "n_fft": 256, "hop_length": 64, "n_mels": 64, "f_max": 4000, **wrong})

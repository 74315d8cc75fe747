"""Griffin-Lim."""

import pytest
import torch

from mmdiff.adapters.audio.mel import PRESETS, LogMel, MelSpec, overlap_add
from mmdiff.adapters.audio.vocoder import GriffinLim


def log_mels(spec, batch=3, frames=40, seed=0):
    x = 0.1 * torch.randn(batch, spec.samples(frames), generator=torch.Generator().manual_seed(seed))
    return LogMel(spec)(x, torch.full((batch,), x.shape[1]))


@pytest.mark.parametrize("name", PRESETS)
def test_the_length_is_exact(name):
    spec = MelSpec.named(name)
    for frames in (1, 2, 3, 40):
        y = GriffinLim(spec, n_iter=2)(log_mels(spec, frames=frames))
        assert y.shape == (3, 1, spec.samples(frames))
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("frames", [17, 40])
@pytest.mark.parametrize("name", PRESETS)
def test_an_item_is_the_same_in_any_batch(name, frames):
    """To the last bit: the iteration makes of one rounding a difference as large as a percent of the peak."""
    spec = MelSpec.named(name)
    vocoder, z = GriffinLim(spec, n_iter=4, inversion_iter=5), log_mels(spec, batch=5, frames=frames)
    together = vocoder(z)
    for part in (slice(0, 1), slice(1, 3), slice(4, 5)):
        assert torch.equal(vocoder(z[part]), together[part])


def test_it_uses_no_global_randomness():
    spec = MelSpec.named("speech_8k")
    state = torch.get_rng_state()
    y = GriffinLim(spec)(log_mels(spec))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert torch.equal(GriffinLim(spec)(log_mels(spec)), y)
    assert not torch.equal(GriffinLim(spec, seed=1)(log_mels(spec)), y)


def test_overlap_add_inverts_the_short_time_transform():
    vocoder = GriffinLim(MelSpec.named("audioldm_16k"))              # its hop does not divide its window
    x = torch.randn(2, 1024 + 160 * 30, generator=torch.Generator().manual_seed(0))
    spectrum = vocoder._stft(x)
    weight = overlap_add(vocoder.window.square()[:, None].expand(-1, 31)[None], 160).clamp(min=1e-8)
    back = vocoder._istft(spectrum, weight)
    torch.testing.assert_close(back[:, 50:-50], x[:, 50:-50], atol=1e-4, rtol=0)


def test_the_mel_inversion_reproduces_the_mel_and_is_never_negative():
    spec = MelSpec.named("hifigan_22k")
    vocoder, mel = GriffinLim(spec, inversion_iter=200), log_mels(spec).exp()
    x = vocoder.invert(mel)
    assert (x >= 0).all()
    assert (vocoder.basis @ x - mel).abs().mean() < 0.02 * mel.mean()
    assert not x[:, vocoder.basis.sum(0) == 0].any()


def test_momentum_and_the_multiplicative_inversion_both_help():
    spec = MelSpec.named("speech_8k")
    z = log_mels(spec, frames=100)

    def error(**settings):
        y = GriffinLim(spec, **settings)(z)[:, 0]
        return float((LogMel(spec)(y, torch.full((3,), y.shape[1])) - z).abs().mean())

    assert error() < error(momentum=0.0)
    assert error() < error(inversion_iter=1)
    assert error(n_iter=64) < error(n_iter=4)


def test_silence_stays_silent():
    spec = MelSpec.named("speech_8k")
    y = GriffinLim(spec)(torch.full((1, 64, 50), spec.log_floor))
    assert torch.isfinite(y).all()
    assert y.abs().max() < 0.01


def test_without_settings_it_says_so():
    with pytest.raises(ValueError, match="mel settings"):
        GriffinLim()(torch.zeros(1, 64, 10))


@pytest.mark.parametrize("name", ["speech_8k", "hifigan_22k"])
def test_the_ends_of_a_clip_are_nearly_as_good_as_its_middle(name):
    spec = MelSpec.named(name)
    z = log_mels(spec, batch=8, frames=60)
    y = GriffinLim(spec)(z)[:, 0]
    error = (LogMel(spec)(y, torch.full((8,), y.shape[1])) - z).abs().mean((0, 1))
    assert error[[0, 1, -2, -1]].mean() < 2 * error[10:50].mean()

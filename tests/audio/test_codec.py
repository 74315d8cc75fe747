"""Waveforms to latents and back."""

import pytest
import torch

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.measure import cents, pitch
from mmdiff.adapters.audio.mel import PRESETS, MelSpec
from mmdiff.adapters.audio.notes import Notes, frequency
from mmdiff.adapters.audio.vocoder import GriffinLim
from mmdiff.core.types import Masked
from mmdiff.data.batch import pad


def notes(n=12, rate=8000, seconds=1.0):
    return Notes(AudioReader(rate, seconds=seconds), n=n)


def ragged(seed=0, sizes=(4000, 3001, 64, 1)):
    generator = torch.Generator().manual_seed(seed)
    return pad([0.1 * torch.randn(1, n, generator=generator) for n in sizes])


@pytest.mark.parametrize("name", PRESETS)
def test_shapes_and_masks_follow_the_frame_law(name):
    codec, samples = MelCodec(name), ragged()
    z = codec.encode(samples)
    hop = codec.mel.hop_length
    assert z.x.shape == (4, codec.channels, -(-4000 // hop))
    assert z.mask.shape == (4, 1, z.x.shape[-1])
    assert z.mask[:, 0].sum(1).tolist() == [-(-n // hop) for n in (4000, 3001, 64, 1)]
    assert not z.x.masked_select(~z.mask).any()
    y = codec.decode(z)
    assert y.x.shape == y.mask.shape == (4, 1, z.x.shape[-1] * hop)
    assert y.mask[:, 0].sum(1).tolist() == [-(-n // hop) * hop for n in (4000, 3001, 64, 1)]
    assert not y.x[~y.mask].any()
    assert torch.isfinite(y.x).all()


def test_without_a_mask_there_is_none():
    codec, x = MelCodec(), ragged().x
    assert codec.encode(Masked(x)).mask is None
    assert codec.decode(codec.encode(Masked(x))).mask is None


def test_neither_padding_nor_nan_in_it_nor_the_rest_of_the_batch_changes_a_clip():
    codec, (x, mask) = MelCodec("hifigan_22k"), ragged()
    z = codec.encode(Masked(torch.where(mask, x, torch.nan), mask))
    assert torch.isfinite(z.x).all()
    for i, size in enumerate((4000, 3001, 64, 1)):
        alone = codec.encode(Masked(x[i : i + 1, :, :size])).x[0]
        torch.testing.assert_close(z.x[i, :, : alone.shape[-1]], alone, atol=1e-5, rtol=0)


def test_decoding_does_not_depend_on_padding():
    codec = MelCodec()
    z = codec.encode(ragged(sizes=(4000, 3001)))
    y = codec.decode(z)
    frames = int(z.mask[1].sum())
    alone = codec.decode(Masked(z.x[1:, :, :frames])).x[0]
    assert torch.equal(y.x[1, :, : alone.shape[-1]], alone)


def test_fit_gives_zero_mean_and_unit_variance_over_real_frames():
    codec, generator = MelCodec(), torch.Generator().manual_seed(1)
    clips = lambda level: [torch.randn(1, n, generator=generator) * level for n in (3000, 4000, 500)]  # noqa: E731
    batches = [pad(clips(0.3)), pad(clips(0.01))]
    noisy = [Masked(torch.where(m, x, torch.nan), m) for x, m in batches]
    codec.fit(noisy)
    values = torch.cat([z.x.transpose(1, 2)[z.mask[:, 0]].flatten() for z in map(codec.encode, noisy)])
    assert abs(values.mean()) < 1e-3
    assert abs(values.std() - 1) < 1e-3
    assert {"mean", "std", "low", "high"} == set(codec.state_dict())


def test_low_precision_of_the_network_does_not_reach_the_codec():
    codec, samples = MelCodec(), ragged(sizes=(4000,))
    z = codec.encode(samples)
    y = codec.decode(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.encode(samples).x, z.x)
        assert torch.equal(codec.decode(z).x, y.x)


@pytest.mark.parametrize("samples", [[], [Masked(torch.zeros(2, 1, 4000))]])
def test_fit_without_sound_is_an_error(samples):
    with pytest.raises(ValueError, match="the frames of sound of the training set are none, or all alike"):
        MelCodec().fit(samples)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("seconds", [0.001, 0.1, 0.5, 1.0, 3.3])
def test_a_requested_duration_is_honoured_to_one_hop(name, seconds):
    codec = MelCodec(name)
    made = codec.mel.samples(*codec.latent_shape(seconds=seconds)) / codec.sample_rate
    assert seconds - 0.5 / codec.sample_rate <= made < seconds + (codec.mel.hop_length + 1) / codec.sample_rate


def test_the_size_of_a_sample_asks_for_its_own_latent_shape():
    codec = MelCodec()
    x = ragged().x[:1]
    assert codec.latent_shape(**codec.size(x[0])) == codec.encode(Masked(x)).x.shape[2:]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_duration_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(ValueError, match="seconds"):
        MelCodec().latent_shape(seconds=seconds)


def test_a_vocoder_made_for_other_settings_is_refused_with_both_named():
    with pytest.raises(ValueError, match=r"sample_rate 22050 != 8000.*n_fft=1024.*n_fft=256"):
        MelCodec("speech_8k", GriffinLim(MelSpec.named("hifigan_22k")))


def test_saving_limits_and_never_wraps(tmp_path):
    codec = MelCodec()
    with pytest.warns(UserWarning, match=r"a.wav: \d+ samples were beyond full scale and are cut"):
        path = codec.save(3 * notes().read(0)[0], tmp_path / "a.wav")
    assert AudioReader(8000).read(path).abs().max() <= 1


def test_a_preview_is_a_png_of_every_sample(tmp_path):
    data = notes(7)
    path = MelCodec().preview([data.read(i)[0] for i in range(7)], [data.name(i) for i in range(7)], tmp_path / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


@pytest.mark.parametrize(("name", "bar"), [("speech_8k", 0.25), ("speech_8k_48", 0.35)])
def test_notes_survive_the_way_there_and_back(name, bar):
    codec, data = MelCodec(name), notes(12)
    read = [data.read(i) for i in range(12)]
    x = torch.stack([sample for sample, _ in read])
    z = codec.encode(Masked(x))
    y = codec.decode(z).x[:, :, :8000]
    assert (codec.encode(Masked(y)).x - z.x).abs().mean() < bar
    errors = [abs(cents(pitch(w, 8000), frequency(row["pitch"]))) for w, (_, row) in zip(y, read, strict=True)]
    assert max(errors) < 50
    assert sorted(errors)[6] < 15

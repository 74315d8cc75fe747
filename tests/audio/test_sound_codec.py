"""Learned codecs of sound: a vocoder for log-mel spectrograms, an autoencoder of waveforms, and their losses."""

import math

import pytest
import torch

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.coders import VocoderCoder, WaveCoder, envelope
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.losses import Convergence, LogSpectral, Phase
from mmdiff.adapters.audio.mel import LogMel, MelSpec
from mmdiff.adapters.audio.sound import WaveCodec
from mmdiff.adapters.autoencoder import Autoencoder
from mmdiff.adapters.bottlenecks import Plain
from mmdiff.adapters.reconstruction import Absolute
from mmdiff.codec import CodecModel
from mmdiff.config.build import ConfigError
from mmdiff.config.header import read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch, pad
from mmdiff.generation.pipeline import load
from mmdiff.testing import AdapterContract, Trial
from mmdiff.testing.report import failure, laws
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.test_codecs import assert_cached_as_encoded
from tests.training.test_resume import assert_same

SHORT = ["data=notes", "data.n=16", "adapter.reader.seconds=0.1", "loader.batch_size=4", "loader.val_samples=2",
         "log.every=1", "logger=csv", "trainer=cpu", "checkpoint.every=0", "validation.every=0", "preview.n=0"]


def vocoder():
    torch.manual_seed(0)
    coder = VocoderCoder("speech_8k", width=16, depth=2)
    return Autoencoder(WaveCodec(8000), coder, bottleneck=Plain()).eval()


def waves():
    torch.manual_seed(0)
    return Autoencoder(WaveCodec(8000), WaveCoder(strides=(2, 3, 4), width=4), latent=4).eval()


def stereo():
    torch.manual_seed(0)
    return Autoencoder(WaveCodec(8000, channels=2), WaveCoder(strides=(2, 3, 4), width=4), latent=4).eval()


def sound(length, seed=0):
    return 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_latents_of_a_vocoder_are_the_log_mels_that_models_of_spectrograms_have():
    x = Masked(sound(7777)[None])
    assert torch.equal(vocoder().features(x).x, MelCodec("speech_8k").features(x).x)
    vocoder().fit([x])                                                # silent bands have no deviation of their own


@pytest.mark.parametrize("name", ["speech_8k", "speech_8k_48", "audioldm_16k", "vocos_24k"])
def test_the_envelope_of_an_even_spectrum_is_that_spectrum(name):
    mel = MelSpec.named(name)
    shares, level = envelope(mel)
    magnitude = torch.full((mel.n_fft // 2 + 1, 3), 0.2)
    found = shares @ (mel.basis() @ magnitude**mel.power).clamp(min=mel.floor).log() + level
    heard = mel.basis().sum(0) > 0
    assert heard.float().mean() > 0.6
    torch.testing.assert_close(found[heard].exp(), magnitude[heard], rtol=1e-4, atol=0)
    assert (found[~heard] <= mel.log_floor / mel.power + 1e-5).all()


@torch.no_grad()
@pytest.mark.parametrize("made", [vocoder, waves])
def test_every_length_has_the_frames_that_are_promised_and_comes_back_as_long(made):
    codec = made()
    for length in (25, 320, 777, 8000, 8001):
        latents = codec.encode(Masked(sound(length)[None])).x
        seconds = codec.size(sound(length))["seconds"]
        assert codec.latent_shape(seconds=seconds) == latents.shape[2:]
        assert codec.decode_sized(Masked(latents), seconds=seconds).x.shape == (1, 1, length)


@torch.no_grad()
@pytest.mark.parametrize("made", [vocoder, waves])
def test_a_sound_decoded_in_parts_is_the_sound_decoded_whole(made):
    coder = made().coder
    z = torch.randn(1, coder.fixed or 4, 150)
    whole = coder.decoder(z)
    coder.chunk = 32
    assert (coder.decode(Masked(z)).x - whole).abs().max() <= 1e-5
    coder.reach = (2, 2)
    assert (coder.decode(Masked(z)).x - whole).abs().max() > 1e-5     # without what is around a part it is another


@torch.no_grad()
def test_a_vocoder_has_the_same_mels_in_bfloat16_and_nearly_the_same_wave():
    codec, x = vocoder(), sound(4000)[None]
    exact = codec.coder.decoder(codec.coder.encoder(x))
    with torch.autocast("cpu", torch.bfloat16):
        mels = codec.coder.encoder(x)
        wave = codec.coder.decoder(mels)
    assert torch.equal(mels, codec.coder.encoder(x)) and wave.dtype == torch.float32
    assert (wave - exact).square().mean() < 1e-4 * exact.square().mean()     # 40 dB below


@torch.no_grad()
@pytest.mark.parametrize("made", [vocoder, waves])
def test_a_sound_encoded_in_parts_is_the_sound_encoded_whole(made):
    coder = made().coder
    x = sound(120 * coder.stride[0] - 5)[None]
    whole = coder.encode(Masked(x)).x
    coder.chunk = 32
    assert (coder.encode(Masked(x)).x - whole).abs().max() <= 1e-5
    coder.sight = (0, 0)
    assert (coder.encode(Masked(x)).x - whole).abs().max() > 1e-5


@torch.no_grad()
@pytest.mark.parametrize("made", [vocoder, waves])
def test_a_sound_has_the_same_latent_whatever_follows_it_in_a_batch(made):
    codec, clips = made(), [sound(1000), sound(700, 1)]
    together = codec.encode(pad(clips))
    for row, clip in zip(together.x, clips, strict=True):
        alone = codec.encode(Masked(clip[None])).x[0]
        assert torch.equal(row[:, : alone.shape[1]], alone)


@torch.no_grad()
def test_a_stereo_codec_gives_two_channels_back_and_is_asked_for_both(tmp_path):
    codec, x = stereo(), torch.cat([sound(800), sound(800, 1)])
    latents = codec.encode(Masked(x[None])).x
    assert latents.shape == (1, 4, 34) and codec.decode_sized(Masked(latents), seconds=0.1).x.shape == (1, 2, 800)
    path = codec.save(x, tmp_path / "a.wav")
    assert codec.load(path).shape == (2, 800) and codec.reading["channels"] == 2
    swapped, same = Masked(x.flip(0)[None]), Masked(x[None])
    assert LogSpectral()(swapped, same) > 0.1 and LogSpectral()(same, same) == 0
    half = Masked(torch.stack([x[0], sound(800, 2)[0]])[None])        # right on the left, wrong on the right
    assert LogSpectral()(half, same).item() == pytest.approx(
        LogSpectral()(Masked(half.x[:, 1:]), Masked(same.x[:, 1:])).item() / 2)
    with pytest.raises(ValueError, match="one channel of sound"):
        Autoencoder(WaveCodec(8000, channels=2), VocoderCoder("speech_8k"), bottleneck=Plain())


def test_a_gain_is_its_own_distance_and_the_opposite_is_out_of_phase():
    x = Masked(sound(4000)[None])
    louder = Masked(2 * x.x)
    assert LogSpectral()(louder, x).item() == pytest.approx(math.log(2), abs=1e-2)
    assert LogSpectral()(x, x).item() == 0
    assert Convergence()(louder, x).item() == pytest.approx(1, abs=1e-3) and Convergence()(x, x).item() < 1e-3
    quiet = Masked(torch.zeros_like(x.x))                             # a hiss of -80 dB on silence is next to nothing
    assert Convergence()(Masked(1e-4 * x.x), quiet).item() < 0.1
    turned = Phase()(Masked(-x.x), x).item()
    assert turned == pytest.approx(2, abs=1e-3) and Phase()(louder, x).item() == pytest.approx(0, abs=1e-3)
    silence = Masked(torch.zeros_like(x.x).requires_grad_())
    (LogSpectral()(silence, x) + Convergence()(silence, x) + Phase()(silence, x)).sum().backward()
    assert silence.x.grad.isfinite().all()


def test_corrected_levels_are_nearer_to_those_that_are_asked_for():
    mel = MelSpec.named("speech_8k_48")
    log_mel = LogMel(mel)
    x = 0.3 * torch.randn(1, 1, 4000)
    asked = log_mel(x[:, 0], torch.tensor([4000]))
    errors = []
    for corrections in (0, 1, 3):
        torch.manual_seed(0)
        coder = VocoderCoder(mel, width=8, depth=1, corrections=corrections)
        coder.make(1, mel.n_mels, 1)
        made = coder.eval().decoder(asked)[:, 0]
        errors.append((log_mel(made, torch.tensor([made.shape[1]])) - asked).abs().mean().item())
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


@pytest.mark.parametrize(("rate", "channels", "coder"), [
    (16000, 1, VocoderCoder("audioldm_16k", width=8, depth=1)), (24000, 1, VocoderCoder("vocos_24k", width=8, depth=1)),
    (44100, 1, VocoderCoder("bigvgan_44k", width=8, depth=1)), (16000, 2, WaveCoder(width=4)),
    (22050, 1, WaveCoder(strides=(3, 5), width=4, multipliers=(1, 1))), (44100, 2, WaveCoder(width=4)),
    (48000, 1, WaveCoder(strides=(2, 4, 4, 5, 8), width=2, multipliers=(1, 1, 1, 1, 1))),
])
def test_a_codec_of_any_rate_and_channels_learns_and_gives_sounds_of_their_length_back(rate, channels, coder):
    torch.manual_seed(0)
    base = WaveCodec(rate, channels=channels)
    codec = Autoencoder(base, coder, bottleneck=Plain() if coder.fixed else None)
    losses = {"convergence": Convergence()} if coder.fixed else {"absolute": Absolute(), "phase": Phase()}
    model = CodecModel(codec, AudioReader(**base.reading), losses={"spectral": LogSpectral(), **losses})
    batch = Batch(Masked(0.3 * torch.randn(2, channels, 4001)), {}, torch.arange(2))
    optimizer, found = torch.optim.Adam(model.trainable.parameters(), lr=1e-3), []
    for _ in range(3):
        loss = model.loss(batch, 0).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    assert found[-1] < found[0]
    sample = 0.3 * torch.randn(channels, rate // 10 + 1)
    assert model.eval().round_trip(sample).shape == sample.shape


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="latents of 64 channels"):
        Autoencoder(WaveCodec(8000), VocoderCoder("speech_8k"), latent=8, bottleneck=Plain())
    with pytest.raises(ValueError, match="Plain"):
        Autoencoder(WaveCodec(8000), VocoderCoder("speech_8k"))
    with pytest.raises(ValueError, match="these mel settings are of 22050 Hz, and samples are of 8000: say adapter"):
        Autoencoder(WaveCodec(8000), VocoderCoder("hifigan_22k"), bottleneck=Plain())
    with pytest.raises(ValueError, match="as many multipliers"):
        WaveCoder(strides=(2, 2))


@pytest.mark.parametrize(("experiment", "settings", "channels"), [
    ("audio/vocoder", ["adapter.codec.coder.width=16", "adapter.codec.coder.depth=1"], 64),
    ("audio/codec", ["adapter.codec.coder.width=4", "adapter.codec.latent=4"], 4),
])
def test_a_codec_of_sound_is_trained_and_carried_by_a_model_of_its_latents(
    tmp_path, experiment, settings, channels, monkeypatch
):
    codec, notes = tmp_path / "codec", tmp_path / "notes"
    of = [f"experiment={experiment}", *SHORT, *settings, "optim.decay=constant"]
    train(composed("train", [f"run={codec}", *of, "trainer.max_steps=3"]))
    train(composed("train", [f"run={tmp_path / 'parted'}", *of, "trainer.max_steps=2"]))
    more = [f"run={tmp_path / 'parted'}", "trainer.max_steps=3", "preview.n=1"]
    train(composed("train", more), completed("train", more))
    assert len(list((tmp_path / "parted" / "previews" / "step-000000003").glob("*.wav"))) == 2
    assert_same(codec, tmp_path / "parted", 3)
    words = [word for word in TINY if "vocoder" not in word]
    train(composed("train", [f"run={notes}", *words, f"codec={codec}", "trainer.max_steps=2"]))
    header = read_header(notes / "model.safetensors")
    assert header["codec"]["step"] == 3 and header["holds"] == "diffusion model"
    pipeline = load(notes, sampler={"_target_": "mmdiff.core.samplers.Euler", "steps": 1})
    (made,) = pipeline.sample(1, seconds=0.2)
    assert made.shape == (1, 1600) and pipeline.model.codec.channels == channels
    with pytest.raises(ConfigError, match="adapter.codec.mel: codec=.* has its own settings"):
        composed("train", [f"run={notes}x", *words, f"codec={codec}", "adapter.codec.mel=speech_8k_48"])
    if experiment == "audio/codec":                                   # whose 4 channels are no bands
        with pytest.raises(ConfigError, match="low_bands is made of samples as they are, and Autoencoder has latents"):
            train(composed("train", [f"run={notes}x", *words, f"codec={codec}", "adapter/controls=low_bands"]))
    monkeypatch.setattr(AdapterContract, "lossy", 10.0)               # it has learned for three steps
    assert_cached_as_encoded(pipeline.model.codec, [*words, f"codec={codec}"], tmp_path / "latents")
    trial = Trial("audio", [*words, f"codec={codec}"], tmp_path)
    broken = {name: fault for name, law in laws().items() if "processes" not in name
              and (fault := failure(law, trial)) is not None}
    assert not broken, broken

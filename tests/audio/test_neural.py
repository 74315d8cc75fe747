"""DAC and Mimi through transformers' own classes: their continuous latents are those of a codec like any other."""

import math

import pytest
import torch
import transformers

from mmdiff.adapters.audio.tokenizers import DacCodec, MimiCodec
from mmdiff.adapters.public import PublicModel
from mmdiff.core.types import Masked
from mmdiff.testing import Trial
from tests import tiny
from tests.laws import PublicCodecContract

CODECS = {"dac": (tiny.dac, DacCodec, "DacModel", 16), "mimi": (tiny.mimi, MimiCodec, "MimiModel", 32)}


@pytest.fixture(scope="module", params=CODECS)
def case(request, tmp_path_factory):
    make, codec, kind, hop = CODECS[request.param]
    folder = make(tmp_path_factory.mktemp("models") / request.param)
    network = getattr(transformers, kind).from_pretrained(folder).eval()
    return codec(PublicModel(folder), whitening="model"), network, hop


def test_latents_and_sounds_are_those_of_the_library_s_parts(case):
    codec, network, hop = case
    x = torch.rand(2, 1, 20 * hop, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        found, made = network.encoder(x), codec.encode(Masked(x)).x
        found = found if isinstance(found, torch.Tensor) else found.latents
        sound = network.decoder(found)
        sound = sound if isinstance(sound, torch.Tensor) else sound.audio_values
    assert made.shape == (2, codec.channels, 20) and codec.latent_shape(seconds=x.shape[-1] / 8000) == (20,)
    assert (made - found).abs().max() < 1e-5 < found.std()
    assert (codec.decode(Masked(made)).x - sound).abs().max() < 1e-5 < sound.std()


def test_a_sound_of_any_length_is_filled_up_and_cut_to_what_it_was(case):
    codec, _, hop = case
    x = torch.rand(1, 1, 10 * hop + 3) - 0.5
    z = codec.encode(Masked(x))
    assert z.x.shape[-1] == 11
    assert codec.decode_sized(z, seconds=x.shape[-1] / 8000).x.shape == x.shape


class TestContract(PublicCodecContract):
    adapter = "audio_dac"
    lossy = math.inf                                                  # a codec that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, tmp_path_factory):
        folder = tiny.dac(tmp_path_factory.mktemp("models") / "dac")
        own = [f"adapter.model={folder}", "adapter.reader.seconds=0.05", "adapter.network.dim=64",
               "adapter.network.depth=2", "adapter.network.heads=4", "adapter.conditioner.dim=32", "data=notes",
               "data.n=8"]
        return Trial("audio_dac", own, tmp_path_factory.mktemp("trial"))

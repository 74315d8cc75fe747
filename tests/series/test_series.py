"""Series of other packages: what is measured of them, and that every fault is seen by something."""

import pytest
import torch

from mmdiff.adapters import base as adapters
from mmdiff.adapters.series.body import SeriesBody
from mmdiff.adapters.series.codec import SeriesCodec
from mmdiff.adapters.series.judge import SeriesJudge
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.adapters.whitened import WhitenedCodec
from mmdiff.core.types import Masked
from mmdiff.evaluation.embedders.fitting import fit, scored


class Codec(WhitenedCodec):
    """Two channels, one position of the latent for each of the sample."""

    suffix, reading = ".npy", {}

    def __init__(self):
        super().__init__(2)

    def latent_shape(self, *, length):
        return (int(length),)

    def size(self, sample):
        return {"length": sample.shape[-1]}

    save = load = preview = None


def waves(n=40, length=64):
    """Around 1000, of 2 and 8 cycles in turn, by class."""
    phase = torch.rand(n, 1, 1, generator=torch.Generator().manual_seed(0))
    cycles = torch.tensor([2.0, 8.0]).repeat(n // 2)
    x = torch.sin(2 * torch.pi * (cycles[:, None, None] * torch.arange(length) / length + phase))
    return 1000 + torch.cat([x, 3 * x], 1), {"kind": torch.arange(n) % 2}


def test_statistics_of_a_sinusoid():
    x, _ = waves()
    found = SeriesJudge().values(x, Codec())
    assert found["level"].allclose(torch.tensor(1000.0, dtype=torch.float64), atol=1e-3)
    assert found["spread"].allclose(torch.tensor((1 + 3) / 2 * 0.5**0.5, dtype=torch.float64), rtol=0.02)
    cycles = found["frequency, cycles a position"] * 64
    torch.testing.assert_close(cycles[:2], torch.tensor([2.0, 8.0], dtype=torch.float64), rtol=0, atol=1e-2)
    assert found["roughness"][1] > 3 * found["roughness"][0]
    constant = SeriesJudge().values(torch.ones(1, 2, 16), Codec())
    assert constant["roughness"].isnan() and constant["spread"] == 0


def test_every_fault_moves_a_statistic_or_the_distance_to_the_truth():
    x, _ = waves()
    series, real = SeriesJudge(), SeriesJudge().values(x, Codec())
    for name, wrong in series.faults(x, torch.Generator().manual_seed(0)).items():
        assert wrong.shape == x.shape and wrong.isfinite().all()
        values = series.values(wrong, Codec())
        moved = [float((values[key] - real[key]).nanmean().abs() / real[key].nanmean()) for key in values]
        paired = float(series.paired(wrong, x)["RMSE, spreads"].mean())
        assert paired > 0.1, name
        assert name in {"backwards", "labels shuffled", "one series for all"} or max(moved) > 0.05, (name, moved)


def test_samples_are_brought_to_the_length_of_generated_ones():
    stacked = SeriesJudge().stacked([torch.arange(5.0).expand(2, 5), torch.ones(2, 20)], Codec(), {"length": 8})
    assert stacked.shape == (2, 2, 8) and stacked[0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert SeriesJudge().settings(Codec()) == {"channels": 2}
    with pytest.raises(ValueError, match=r"samples \(C, T\), and these are \(2, 5, 5\)"):
        SeriesJudge().stacked([torch.ones(2, 5, 5)], Codec(), {"length": 8})


def test_a_network_learns_labels_of_series_in_any_unit():
    x, labels = waves()
    told = {"fields": {"kind": ["slow", "fast"]}, "settings": {"channels": 2}}
    model = fit(x, labels, judge=SeriesJudge(), **told, steps=40, batch=16)
    assert scored(model, x, labels)["kind"] > 0.9


class Numbers(SeriesCodec):
    suffix, reading = ".npy", {}

    def latent_shape(self, *, length): ...
    def size(self, sample): ...
    def save(self, sample, path): ...
    def load(self, path, **size): ...


def test_a_codec_says_what_judges_its_samples(monkeypatch):
    assert isinstance(Numbers(2).judge(), SeriesJudge)
    assert isinstance(PixelCodec().judge(), VideoJudge)
    monkeypatch.setattr(Numbers, "judge", adapters.Codec.judge)
    with pytest.raises(ValueError, match=r"Numbers has no judge\(\) .* evaluation=series_v1"):
        Numbers(2).judge()


def test_a_channel_that_never_varies_takes_over_neither_features_nor_errors():
    x = torch.randn(32, 2, 64, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 5.0
    body = SeriesBody(channels=2).eval()
    body.measure(x)
    near = x + torch.tensor([0.0, 1e-3])[:, None]
    assert (body(near) - body(x)).abs().max() < 0.1
    assert SeriesJudge().paired(near, x)["RMSE, spreads"].max() < 1e-3


def test_whitening_measures_quantities_of_any_unit_and_refuses_constants_of_any():
    codec, volts = Numbers(2), 1e-6 * torch.randn(4, 2, 50, generator=torch.Generator().manual_seed(0))
    codec.measure([Masked(volts)])
    assert torch.allclose(codec.encode(Masked(volts)).x.std((0, 2)), torch.ones(2), atol=0.01)
    volts[:, 1] = 1e9
    with pytest.raises(ValueError, match="the channel 1 of the training set are none, or all alike"):
        codec.measure([Masked(volts)])


def test_what_is_generated_is_limited_to_the_range_of_each_channel_over_real_positions():
    codec, x = Codec(), torch.randn(4, 2, 50, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(50)[None, None] < torch.tensor([50, 40, 30, 20])[:, None, None]
    assert torch.equal(codec.limited(1e6 * x), 1e6 * x)               # nothing is known yet
    codec.measure([Masked(torch.where(mask, x, 1e3), mask)])
    least, most = (torch.stack([f(x[:, c][mask[:, 0]]) for c in range(2)]) for f in (torch.min, torch.max))
    latents = codec.encode(Masked(x, mask)).x
    assert torch.equal(codec.limited(latents), latents)
    for sign, edge in ((-1e6, least), (1e6, most)):
        end = codec.decode(Masked(codec.limited(torch.full((1, 2, 3), sign)))).x
        torch.testing.assert_close(end, edge[None, :, None].expand(1, 2, 3))

"""What codecs of every modality have in common: bottlenecks, what is kept in the long run, caches."""

import torch
from torch.distributions import Normal, kl_divergence

from mmdiff.adapters.autoencoder import Autoencoder
from mmdiff.adapters.bottlenecks import KL, QUIET, Bounded
from mmdiff.adapters.reconstruction import Gradient, Squared
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.coder import FilmCoder
from mmdiff.adapters.video.reader import VideoReader
from mmdiff.cache.encode import encode
from mmdiff.cache.latents import Latents
from mmdiff.codec import CodecModel
from mmdiff.config.adapter import build_codec, build_dataset
from mmdiff.config.overrides import composed
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch


def assert_cached_as_encoded(codec, words, out):
    """Features in a cache are, to the bit, those that a run makes of the samples on the way."""
    told = [word for word in words if word.startswith(("adapter", "data", "codec"))]
    config = composed("encode", [f"out={out}", *told])
    encode(config, str(out), progress=False)
    reader = build_codec(config.adapter)[1]
    data, cached = build_dataset(config.data, reader, {}), Latents(reader, str(out))
    assert len(cached) == len(data)
    for i in range(4):
        sample = Masked(data.read(i)[0][None])
        assert torch.equal(cached.read(i)[0], codec.features(sample).x[0])


def test_a_variational_bottleneck_pays_its_divergence_and_a_bounded_one_nothing():
    h, eps = 3 * torch.randn(2, 6, 5), torch.randn(2, 3, 5)
    mean, deviation = h[:, :3], ((h[:, 3:] - QUIET) / 2).exp()
    z, penalty = KL(weight=0.3).drawn(h, eps)
    torch.testing.assert_close(z, mean + deviation * eps)
    own, prior = Normal(mean, deviation), Normal(torch.zeros(()), torch.ones(()))
    torch.testing.assert_close(penalty, 0.3 * kl_divergence(own, prior), rtol=1e-4, atol=1e-5)
    assert torch.equal(KL().latent(h), mean)
    z, penalty = Bounded(noise=0.2).drawn(h[:, :3], eps)
    torch.testing.assert_close(z, torch.tanh(h[:, :3]) + 0.2 * eps)
    assert penalty.eq(0).all() and torch.equal(Bounded().latent(h[:, :3]), torch.tanh(h[:, :3]))


def test_edges_are_compared_along_every_axis_and_only_between_what_is_real():
    real, made = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    apart = made - real
    whole = Gradient()(Masked(made), Masked(real))
    along = [apart.diff(dim=axis).abs().flatten(1).mean(1) for axis in (2, 3)]
    torch.testing.assert_close(whole, (along[0] + along[1]) / 2)
    mask = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    mask[:, :, :3, :2] = True
    part = Gradient()(Masked(torch.where(mask, made, 7.0), mask), Masked(torch.where(mask, real, -7.0), mask))
    torch.testing.assert_close(part, Gradient()(Masked(made[..., :3, :2]), Masked(real[..., :3, :2])))
    assert Gradient()(Masked(real + 2), Masked(real)).abs().max() < 1e-6, "a level alone has no edge"


def test_a_codec_that_has_learned_keeps_the_mean_and_the_contrast_of_what_it_never_saw():
    torch.manual_seed(0)
    codec = Autoencoder(PixelCodec(1), FilmCoder(stride=(1, 2, 2), width=16, multipliers=(1,)), latent=4)
    model = CodecModel(codec, VideoReader(), losses={"squared": Squared()})
    optimizer = torch.optim.Adam(model.trainable.parameters(), lr=1e-2)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, 150)
    waves = torch.stack([torch.cos(torch.pi / 8 * (torch.arange(8) + 0.5) * k) for k in range(3)])

    def pictures(n):
        return 0.2 * torch.einsum("nij,iy,jx->nyx", torch.randn(n, 3, 3), waves, waves)[:, None, None]

    for step in range(150):
        loss = model.loss(Batch(Masked(pictures(16)), {}, torch.arange(16) + 16 * step), 0).mean()
        loss.backward()
        optimizer.step()
        slower.step()
        optimizer.zero_grad()
    real = pictures(32)
    codec.eval().requires_grad_(False)
    back = codec.coder.decode(Masked(codec.features(Masked(real)).x), real.shape[2:]).x
    gain = 20 * (back.flatten(1).std(1) / real.flatten(1).std(1)).log10()
    assert (back - real).square().mean() < 0.05 * real.square().mean()
    assert (back - real).flatten(1).mean(1).abs().mean() < 0.03 and gain.abs().mean() < 0.8, "of full scale; dB"

"""Long sounds and films, and large pictures, are coded in parts: how far a coder sees, and that memory is bounded."""

import pytest
import torch

from mmdiff.adapters.audio.coders import VocoderCoder, WaveCoder
from mmdiff.adapters.audio.sound import WaveCodec
from mmdiff.adapters.autoencoder import Autoencoder
from mmdiff.adapters.bottlenecks import Plain
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.coder import FilmCoder
from mmdiff.core.types import Masked

PRESETS = {                                                           # as in configs/adapter, but for their widths
    "waves": WaveCoder(width=2), "waves, small": WaveCoder(strides=(2, 4, 4, 8), width=2, multipliers=(1, 1, 1, 2)),
    "waves, base": WaveCoder(strides=(2, 4, 4, 4, 8), width=2, multipliers=(1, 1, 1, 1, 1)),
    "waves, odd": WaveCoder(strides=(3, 2, 5), width=2, multipliers=(1, 1, 1)),
    "vocoder": VocoderCoder("speech_8k", width=4), "vocoder, small": VocoderCoder("hifigan_22k", width=4, depth=8),
    "vocoder, base": VocoderCoder("vocos_24k", width=4, depth=8),
    **{f"films{size}": FilmCoder(width=2, multipliers=(1, 1, 1), blocks=blocks)
       for blocks, size in ((1, ""), (2, ", small"), (3, ", base"))},
}


def changed(work, x, at, axis):
    """Where along an axis what comes of ``x`` changes, if ``x`` does so at one position."""
    other = x.clone()
    other.select(axis, at).add_(1)
    axes = [n for n in range(x.ndim) if n != axis]
    return (work(other) - work(x)).abs().amax(axes).nonzero().flatten().tolist()


@torch.no_grad()
@pytest.mark.parametrize("name", PRESETS)
def test_no_impulse_is_seen_from_further_than_a_coder_says(name):
    torch.manual_seed(0)
    coder = PRESETS[name]
    coder.make(1, coder.fixed or 2, 1)
    dtype = torch.float32 if coder.fixed else torch.float64           # in which nothing that is seen is rounded away
    coder.to(dtype)
    for axis in range(len(coder.stride)):
        before, after = coder.reach if axis == 0 else (coder.beside[0],) * 2
        shape = [1] * len(coder.stride)
        shape[axis] = 2 * (before + after) + 9
        z, at = torch.randn(1, coder.fixed or 2, *shape, dtype=dtype), before + after + 4
        seen = [coder._down(n + 1, axis) - 1 for n in changed(coder.decoder, z, at, axis + 2)]
        assert min(seen) >= at - after and max(seen) <= at + before and len({*seen}) > 1 + (before + after) // 3
        before, after = coder.sight if axis == 0 else (coder.beside[1],) * 2
        shape = [1 if n == 0 and coder.causal else step for n, step in enumerate(coder.stride)]
        shape[axis] = coder._up(2 * (before + after) + 9, axis)
        x, at = torch.randn(1, 1, *shape, dtype=dtype), coder._up(before + after + 4, axis)
        seen, own = changed(coder.encoder, x, at, axis + 2), coder._down(at + 1, axis) - 1
        assert min(seen) >= own - after and max(seen) <= own + before and own in seen


def largest(codec, x):
    """The numbers of the largest tensor that a layer makes when ``x`` is coded and decoded."""
    sizes = []
    hooks = [layer.register_forward_hook(lambda layer, inputs, output: sizes.append(output.numel()))
             for part in (codec.coder.encoder, codec.coder.decoder) for layer in part.modules()]
    back = codec.decode_sized(codec.encode(Masked(x)), **codec.size(x[0])).x
    for hook in hooks:
        hook.remove()
    assert back.shape == x.shape
    return max(sizes)


@torch.no_grad()
@pytest.mark.parametrize(("coder", "base", "short", "long"), [
    (WaveCoder(strides=(8, 8), width=2, multipliers=(1, 1), chunk=256), WaveCodec(8000), (1, 80_000), (1, 960_000)),
    (VocoderCoder("speech_8k_48", width=8, depth=1, chunk=256), WaveCodec(8000), (1, 80_000), (1, 960_000)),
    (FilmCoder(width=4, multipliers=(1, 1, 1), chunk=4), PixelCodec(3), (3, 61, 16, 16), (3, 401, 16, 16)),
    (FilmCoder(width=4, multipliers=(1, 1, 1), tile=8), PixelCodec(3), (3, 1, 256, 256), (3, 1, 768, 768)),
], ids=["2 minutes, waves", "2 minutes, mels", "400 frames", "768 pixels"])
def test_the_largest_tensor_of_a_long_sample_is_that_of_a_short_one(coder, base, short, long):
    codec = Autoencoder(base, coder, bottleneck=Plain() if coder.fixed else None).eval()
    assert largest(codec, 0.1 * torch.randn(1, *long)) == largest(codec, 0.1 * torch.randn(1, *short))


@torch.no_grad()
@pytest.mark.parametrize(("stride", "blocks"), [((4, 8, 8), 1), ((2, 8, 8), 2)])
def test_a_film_coded_in_tiles_is_the_film_coded_whole(stride, blocks):
    coder = FilmCoder(stride=stride, width=4, multipliers=(1, 2, 2), blocks=blocks)
    torch.manual_seed(0)
    coder.make(3, 4, 1)
    coder.eval().double()
    x, z = torch.randn(1, 3, 1, 100, 130).double(), torch.randn(1, 4, 2, 13, 17).double()
    latents, film = coder.encoder(coder._continued(x)), coder.decoder(z)
    coder.tile = 5
    assert (coder.encode(Masked(x)).x - latents).abs().max() <= 1e-9
    assert (coder.decode(Masked(z)).x - film).abs().max() <= 1e-9
    coder.chunk = 1
    assert (coder.decode(Masked(z)).x - film).abs().max() <= 1e-9
    coder.beside = tuple(n - 1 for n in coder.beside)
    assert (coder.encode(Masked(x)).x - latents).abs().max() > 1e-9   # and no more is looked at
    assert (coder.decode(Masked(z)).x - film).abs().max() > 1e-9

"""The codec: whitening, the normalisers and what they lose, masks, permutations."""

import numpy as np
import pytest
import torch

from mmdiff.adapters.points.codec import PointCodec
from mmdiff.adapters.points.molecules import MoleculeCodec
from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.points.solids import Solids
from mmdiff.core.types import Masked

CHOICES = [(n, c) for n in ("cube", "sphere", "global") for c in ("bbox", "mass", "none")]


def shapes(batch=8, points=256, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, points, generator=generator)
    size, place = torch.rand(batch, 1, 1, generator=generator) + 0.5, torch.randn(batch, 3, 1, generator=generator)
    x[:, :3] = x[:, :3] * torch.tensor([1.0, 2.0, 0.5])[:, None] * size + 3 * place
    return x


def fitted(samples, **choices):
    codec = PointCodec(**choices)
    codec.fit([samples])
    return codec


@pytest.mark.parametrize(("normalize", "center"), CHOICES)
def test_latents_have_zero_mean_and_unit_variance_in_every_group(normalize, center):
    x = shapes(16, channels=11)
    x[:, 6:9] = x[:, 6:9] * 0.2 + 0.3
    codec = fitted(Masked(x), normals=True, colors=True, extra=2, normalize=normalize, center=center)
    z = codec.encode(Masked(x)).x
    assert codec.channels == 11
    assert torch.allclose(z.mean((0, 2)), torch.zeros(11), atol=1e-4)
    for group in (z[:, :3], z[:, 3:6], z[:, 6:9], z[:, 9:]):
        assert abs(float(group.square().mean()) - 1) < 1e-3


@pytest.mark.parametrize("center", [None, "none"])
def test_the_global_normaliser_inverts_exactly_both_ways(center):
    x = shapes()
    codec = fitted(Masked(x), normalize="global", center=center)
    assert torch.allclose(codec.decode(codec.encode(Masked(x))).x, x, atol=1e-5)
    z = torch.randn(4, 3, 100, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(codec.encode(codec.decode(Masked(z))).x, z, atol=1e-5)


@pytest.mark.parametrize(("normalize", "center"), CHOICES[:6])
def test_decoded_shapes_are_similar_to_those_encoded_and_fill_the_unit(normalize, center):
    x = shapes()
    codec = fitted(Masked(x), normalize=normalize, center=center)
    y = codec.decode(codec.encode(Masked(x))).x
    size = y.abs().amax((1, 2)) if normalize == "cube" else y.norm(dim=1).amax(1)
    assert torch.allclose(size, torch.ones(8), atol=1e-5)
    if center == "bbox":
        assert torch.allclose(y.amax(-1), -y.amin(-1), atol=1e-5)
    if center == "mass":
        assert torch.allclose(y.mean(-1), torch.zeros(8, 3), atol=1e-5)
    ratio = (x[..., 1:] - x[..., :1]).norm(dim=1) / (y[..., 1:] - y[..., :1]).norm(dim=1)
    assert torch.allclose(ratio / ratio[:, :1], torch.ones(8, 255), atol=1e-3)


@pytest.mark.parametrize("normalize", ["cube", "sphere"])
def test_place_and_size_of_a_shape_do_not_reach_its_latent(normalize):
    x = shapes()
    codec = fitted(Masked(x), normalize=normalize)
    moved = 7 * x + torch.tensor([1.0, -2.0, 3.0])[:, None]
    assert torch.allclose(codec.encode(Masked(x)).x, codec.encode(Masked(moved)).x, atol=1e-4)


@pytest.mark.parametrize(("normalize", "center"), CHOICES)
def test_padding_changes_neither_statistics_nor_any_real_point(normalize, center):
    x = shapes(6, 100)
    mask = torch.zeros(6, 1, 130, dtype=torch.bool)
    mask[..., :100] = True
    padded = torch.full((6, 3, 130), 1e6)
    padded[..., :100] = x
    order = torch.randperm(130, generator=torch.Generator().manual_seed(0))     # padding may be anywhere
    plain = fitted(Masked(x), normalize=normalize, center=center)
    masked = fitted(Masked(padded[..., order], mask[..., order]), normalize=normalize, center=center)
    assert torch.allclose(plain.mean, masked.mean, atol=1e-5) and torch.allclose(plain.std, masked.std, rtol=1e-5)
    z, back = masked.encode(Masked(padded[..., order], mask[..., order])), torch.argsort(order)
    assert torch.allclose(z.x[..., back][..., :100], plain.encode(Masked(x)).x, atol=1e-4)
    assert not z.x[..., back][..., 100:].any() and not masked.decode(z).x[..., back][..., 100:].any()


def test_a_permutation_of_points_permutes_the_latent():
    x = shapes()
    codec, order = fitted(Masked(x)), torch.randperm(256, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(codec.encode(Masked(x[..., order])).x, codec.encode(Masked(x)).x[..., order], atol=1e-6)


def test_statistics_do_not_depend_on_the_batches_and_travel_with_the_codec():
    x = shapes()
    whole, parts, loaded = fitted(Masked(x)), PointCodec(), PointCodec()
    parts.fit(Masked(part) for part in x.split(3))
    loaded.load_state_dict(whole.state_dict())
    z = whole.encode(Masked(x)).x
    assert torch.allclose(parts.encode(Masked(x)).x, z, atol=1e-5) and torch.equal(loaded.encode(Masked(x)).x, z)


def test_sizes_are_numbers_of_points():
    codec = PointCodec()
    assert codec.latent_shape(points=300.0) == (300,) and codec.size(torch.zeros(3, 7)) == {"points": 7}
    for wrong in (0, 1, 3, 1.5, -3):                                  # 1 to 3 would not be read again
        with pytest.raises(ValueError, match="points must be whole and at least 4"):
            codec.latent_shape(points=wrong)
    assert MoleculeCodec().latent_shape(points=1) == (1,)


def test_a_training_set_that_says_nothing_is_refused():
    with pytest.raises(ValueError, match="points of the training set"):
        PointCodec().fit([])
    x = shapes(channels=6)
    x[:, 3:] = 0.5
    with pytest.raises(ValueError, match="the colors of the training set"):
        PointCodec(colors=True).fit([Masked(x)])
    for wrong in ({"normalize": "box"}, {"center": "top"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PointCodec(**wrong)


def test_what_is_saved_is_what_is_loaded_and_what_the_reader_reads(tmp_path):
    codec = PointCodec(normals=True)
    reader = PointReader(points=300, **codec.reading)
    sample, _ = Solids(reader, n=5).read(1)
    path = codec.save(sample, tmp_path / f"x{codec.suffix}")
    assert torch.allclose(codec.load(path, points=50), sample, atol=1e-6)       # a cloud is loaded whole
    assert np.allclose(np.sort(reader.read(path)), np.sort(sample), atol=1e-6)
    assert codec.preview([sample, sample], ["a", "b"], tmp_path / "p.png").stat().st_size > 1000

"""A learned codec of shapes: no order in, any number of points out; trained, carried, judged."""

import pytest
import torch

from mmdiff.adapters.autoencoder import Autoencoder
from mmdiff.adapters.points.codec import PointCodec
from mmdiff.adapters.points.coder import ShapeCoder
from mmdiff.adapters.points.losses import Assignment, Chamfer, nearest
from mmdiff.adapters.points.pairwise import chamfer, chamfer_matrix
from mmdiff.cli.eval import main as judge
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import completed, composed
from mmdiff.core.types import Masked
from mmdiff.data.batch import pad
from mmdiff.generation.edits import Edit
from mmdiff.generation.pipeline import load
from mmdiff.nn.sets import seeds
from mmdiff.testing import AdapterContract, Trial
from mmdiff.testing.report import failure, laws
from mmdiff.training.train import train
from tests.test_codecs import assert_cached_as_encoded
from tests.training.test_resume import assert_same

SHAPES = ["data=solids", "data.n=24", "adapter.reader.points=64", "loader.batch_size=4", "loader.val=0.4",
          "log.every=1", "logger=csv", "trainer=cpu", "checkpoint.every=0", "validation.every=0", "preview.n=0"]


def made():
    torch.manual_seed(0)
    return Autoencoder(PointCodec(), ShapeCoder(tokens=5, width=32, depth=1, heads=2, points=40), latent=4).eval()


@torch.no_grad()
def test_the_order_of_points_is_not_seen_and_their_number_is_free():
    codec, x = made(), torch.randn(1, 3, 90)
    z = codec.encode(Masked(x)).x
    assert z.shape == (1, 4, 5) and codec.latent_shape(points=90) == codec.latent_shape(points=7) == (5,)
    torch.testing.assert_close(codec.encode(Masked(x[:, :, torch.randperm(90)])).x, z, atol=1e-5, rtol=0)
    few, many = (codec.decode_sized(Masked(z), points=n).x for n in (30, 300))
    assert many.shape == (1, 3, 300)
    torch.testing.assert_close(many[:, :, :30], few, atol=1e-6, rtol=0)   # any number of points is a part of any larger
    assert codec.decode(Masked(z)).x.shape == (1, 3, 40)


@torch.no_grad()
def test_a_shape_has_the_same_latent_in_any_batch():
    codec, clouds = made(), [torch.randn(3, 50), torch.randn(3, 31)]
    together = codec.encode(pad(clouds))
    assert together.mask.all()
    for row, cloud in zip(together.x, clouds, strict=True):
        assert torch.equal(row, codec.encode(Masked(cloud[None])).x[0])


def test_seeds_fill_the_cube_and_begin_alike():
    assert torch.equal(seeds(1000)[:10], seeds(10)) and seeds(1000).abs().max() <= 1
    counts = torch.histc(seeds(1000)[:, 1], 10, -1, 1)
    assert (counts - 100).abs().max() <= 3                            # as even as a sequence is, not as chance is


def test_the_nearest_point_is_that_of_all_distances_where_some_points_are_none():
    places, cloud = torch.randn(3, 3, 50), torch.randn(3, 4, 40)
    mask = torch.rand(3, 1, 40) > 0.3
    apart = torch.cdist(places.mT, cloud[:, :3].mT)
    assert torch.equal(nearest(places, Masked(cloud)), apart.argmin(2))
    assert torch.equal(nearest(places, Masked(cloud, mask)), apart.masked_fill(~mask, torch.inf).argmin(2))
    cloud[0, 0, 0] = torch.nan
    assert Chamfer()(Masked(cloud), Masked(cloud.nan_to_num()))[0].isnan(), "a loss that is not finite is told as such"


def test_the_loss_is_the_distance_that_is_judged_by_and_ignores_padding():
    a, b = torch.randn(3, 50), torch.randn(3, 60)
    told = chamfer(a.T.numpy(), b.T.numpy())
    assert told == pytest.approx(chamfer_matrix(a.T.numpy()[None], b.T.numpy()[None]).item())
    assert Chamfer()(Masked(a[None]), Masked(b[None])).item() == pytest.approx(told, rel=1e-5)
    x, mask = pad([b, torch.randn(3, 80)])
    rows = Chamfer()(Masked(torch.stack([a, a])), Masked(torch.where(mask, x, 100.0), mask))
    assert rows[0].item() == pytest.approx(told, rel=1e-5)


def test_a_distance_of_the_first_power_is_that_to_the_nearest_point_and_has_a_slope_where_points_meet():
    a, b = torch.randn(1, 3, 50), torch.randn(1, 3, 60)
    apart = torch.cdist(a.mT, b.mT)
    told = apart.amin(2).mean() + apart.amin(1).mean()
    assert Chamfer(power=1)(Masked(a), Masked(b)).item() == pytest.approx(told.item(), rel=1e-5)
    for loss in (Chamfer(power=1), Assignment(power=1)):
        met = a.clone().requires_grad_()
        loss(Masked(met), Masked(a)).sum().backward()
        assert met.grad.isfinite().all()


def test_an_assignment_pairs_points_one_to_one_whatever_their_order_and_sees_heaps():
    a = torch.randn(2, 3, 40)
    shuffled = a[:, :, torch.randperm(40)]
    assert Assignment()(Masked(a), Masked(shuffled)).tolist() == [0, 0]
    line = torch.arange(20.0).expand(1, 1, 20) * torch.tensor([1.0, 0, 0])[None, :, None]
    moved = Assignment()(Masked(line.flip(2) + torch.tensor([0.25, 0, 0])[None, :, None]), Masked(line))
    assert moved.item() == pytest.approx(0.0625), "on a line the least pairs keep the order"
    spread, heaps = torch.cat([line, line], 2), torch.cat([line, line[:, :, :1].expand(1, 3, 20)], 2)
    assert Chamfer()(Masked(heaps), Masked(spread)).item() == 0
    assert Assignment()(Masked(heaps), Masked(spread)).item() > 10


def test_an_assignment_takes_as_many_points_as_it_is_told_and_none_that_are_padding():
    a, b = torch.randn(3, 9), torch.randn(3, 7)
    alone = Assignment()(Masked(a[None]), Masked(b[None]))
    x, mask = pad([b, torch.randn(3, 30)])
    rows = Assignment()(Masked(torch.stack([a, a])), Masked(torch.where(mask, x, 100.0), mask))
    assert rows[0].item() == pytest.approx(alone.item(), rel=1e-6)
    first = Assignment(points=3)(Masked(a[None]), Masked(b[None]))
    assert first.item() == pytest.approx(Assignment()(Masked(a[None, :, :3]), Masked(b[None, :, [0, 2, 4]])).item())
    a[0, 0] = torch.nan
    assert Assignment()(Masked(a[None]), Masked(b[None])).isnan().all(), "told as not finite by who trains"


@pytest.mark.parametrize("also", ["reconstruction/losses=assignment", "reconstruction.losses.chamfer.power=1"])
def test_a_codec_of_shapes_learns_by_each_distance_and_grids_refuse_them(also, tmp_path):
    small = ["adapter.codec.coder.tokens=4", "adapter.codec.coder.width=32", "adapter.codec.coder.depth=1",
             "adapter.codec.coder.heads=2", "trainer.max_steps=2"]
    run = train(composed("train", ["experiment=points/codec", *SHAPES, *small, also, f"run={tmp_path}/x"]))
    assert (run / "model.safetensors").exists()
    with pytest.raises(ConfigError, match="compares sets of points"):
        train(composed("train", ["experiment=video/codec", "data=shapes", "reconstruction/losses=assignment",
                                 f"run={tmp_path}/y"]))


def test_a_codec_of_shapes_is_trained_judged_and_carried_by_a_model_of_its_latents(tmp_path, capsys, monkeypatch):
    codec, solids = tmp_path / "codec", tmp_path / "solids"
    small = ["adapter.codec.coder.tokens=4", "adapter.codec.coder.width=16", "adapter.codec.coder.heads=2",
             "adapter.codec.latent=4"]
    of = ["experiment=points/codec", *SHAPES, *small, "optim.decay=constant"]
    train(composed("train", [f"run={codec}", *of, "trainer.max_steps=3"]))
    train(composed("train", [f"run={tmp_path / 'parted'}", *of, "trainer.max_steps=2"]))
    more = [f"run={tmp_path / 'parted'}", "trainer.max_steps=3", "preview.n=1"]
    train(composed("train", more), completed("train", more))
    assert len(list((tmp_path / "parted" / "previews" / "step-000000003").glob("*.ply"))) == 2
    assert_same(codec, tmp_path / "parted", 3)
    assert judge([str(codec), "evaluation.n=8"]) == 0 and "CD to its own" in capsys.readouterr().out
    model = ["adapter=points_latent", *SHAPES, f"codec={codec}", "adapter.network.dim=32", "adapter.network.depth=1",
             "adapter.network.heads=2", "adapter.conditioner.dim=8", "trainer.max_steps=2"]
    train(composed("train", [f"run={solids}", *model]))
    pipeline = load(solids, sampler={"_target_": "mmdiff.core.samplers.Euler", "steps": 1})
    assert [sample.shape for sample in pipeline.sample(1, points=100)] == [(3, 100)]
    assert_cached_as_encoded(pipeline.model.codec, model[:-1], tmp_path / "latents")
    path = pipeline.model.codec.save(torch.randn(3, 30), tmp_path / "part.ply")
    with pytest.raises(ValueError, match="mode=complete needs points that are latents themselves"):
        pipeline.sample(1, points=64, edit=Edit(mode="complete", input=path))
    monkeypatch.setattr(AdapterContract, "lossy", 10.0)               # it has learned for three steps
    trial = Trial("points_latent", model[1:], tmp_path)
    broken = {name: fault for name, law in laws().items() if "processes" not in name
              and (fault := failure(law, trial)) is not None}
    assert not broken, broken
    with pytest.raises(ConfigError, match="PointDiT sees a set, and each latent .* adapter=points_latent"):
        train(composed("train", [f"run={solids}x", "adapter=points", *SHAPES, f"codec={codec}"]))
    with pytest.raises(ConfigError, match="DiT1d tells positions apart, and the order .* by codec=RUN"):
        train(composed("train", [f"run={solids}x", *(word for word in model if not word.startswith("codec="))]))
    with pytest.raises(ConfigError, match="adapter.coupling pairs points with their noise"):
        train(composed("train", [f"run={solids}x", *model, "adapter.coupling.kind=assignment"]))

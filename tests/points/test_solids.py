"""The built-in solids: fixed, closed, centred, and told apart by their shape alone."""

import pickle

import numpy as np
import pytest
import torch
import trimesh

from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.points.solids import SOLIDS, Solids, solid


@pytest.mark.parametrize("kind", SOLIDS)
def test_a_solid_is_centred_of_side_two_and_its_normals_point_outwards(kind):
    for seed in range(20):
        shape = solid(kind, np.random.default_rng(seed))
        low, high = shape.points.min(0), shape.points.max(0)
        assert np.allclose(low, -high) and np.isclose((high - low).max(), 2)
        mesh = trimesh.Trimesh(shape.points, shape.faces)
        mesh.update_faces(mesh.nondegenerate_faces())
        if kind != "lamp":                                            # its shade is open
            assert mesh.is_watertight and mesh.volume > 0


def test_a_solid_is_fixed_by_seed_and_index_and_sampled_anew_with_an_rng():
    data = Solids(PointReader(points=128), n=20)
    x, labels = data.read(9)
    assert torch.equal(x, Solids(PointReader(points=128), n=10).read(9)[0])
    assert not torch.equal(x, Solids(PointReader(points=128), n=20, seed=1).read(9)[0])
    first, again = (data.read(9, np.random.default_rng(s))[0] for s in (0, 0))
    assert torch.equal(first, again) and not torch.equal(first, x)
    assert labels == data.column(9) == {"solid": SOLIDS[9 % len(SOLIDS)]}
    assert torch.equal(pickle.loads(pickle.dumps(data)).read(9)[0], x)
    assert data.report() == {"made": 20, "seed": 0, "skipped": []}


def test_classes_are_told_apart_by_moments_of_their_radii():
    data = Solids(PointReader(points=512), n=50 * len(SOLIDS))

    def features(index):
        x = data.read(index)[0].double()
        around, along = x[[0, 2]].norm(dim=0), x[1].abs()
        bins = torch.linspace(0, 1.5, 9, dtype=torch.float64)
        return torch.cat([torch.histc(v.float(), 8, 0, float(bins[-1])) for v in (around, along, x.norm(dim=0))])

    rows = torch.stack([features(i) for i in range(len(data))]).sqrt()
    label = torch.arange(len(data)) % len(SOLIDS)
    known, asked = slice(0, 40 * len(SOLIDS)), slice(40 * len(SOLIDS), None)
    nearest = torch.cdist(rows[asked], rows[known]).argmin(1)
    assert (label[known][nearest] == label[asked]).float().mean() > 0.9


def test_normals_of_a_ball_point_from_its_centre():
    data = Solids(PointReader(points=256, normals=True), n=1)
    x, _ = data.read(0)
    assert ((x[:3] * x[3:]).sum(0) > 0).all() and torch.allclose(x[3:].norm(dim=0), torch.ones(256), atol=1e-5)


def test_requests_that_cannot_be_met_are_refused():
    for reader in (PointReader(colors=True), PointReader(extra=1), PointReader(visible_only=True)):
        with pytest.raises(ValueError, match="alone"):
            Solids(reader)
    with pytest.raises(ValueError, match="at least 1"):
        Solids(PointReader(), n=0)
    with pytest.raises(ValueError, match="no solid 'cube'"):
        solid("cube", np.random.default_rng(0))

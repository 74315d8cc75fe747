"""Molecules: files, elements as channels, and the whole way through the commands."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdiff.adapters.points.molecules import MoleculeCodec, MoleculeReader, read_molecule
from mmdiff.adapters.points.sticks import BEADS, sticks
from mmdiff.core.types import Masked
from mmdiff.data.batch import pad
from tests.conftest import mmdiff
from tests.points.made import chain

ELEMENTS = ["H", "C", "O"]
WATER = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]])
METHANE = 0.63 * np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1.0]])


def write(folder, name, symbols, places):
    rows = [f"{s} {x:.4f} {y:.4f} {z:.4f}" for s, (x, y, z) in zip(symbols, places, strict=True)]
    (folder / name).write_text("\n".join([str(len(rows)), "made", *rows, "more that does not matter"]))
    return folder / name


def test_three_formats_hold_the_same_molecule(tmp_path):
    write(tmp_path, "a.xyz", "OHH", WATER)
    rows = "".join(f"{s},{x},{y},{z}\n" for s, (x, y, z) in zip("ohh", WATER, strict=True))
    (tmp_path / "a.csv").write_text("element,x,y,z\n" + rows)
    np.savez(tmp_path / "a.npz", elements=np.array(list("OHH")), points=WATER)
    for suffix in (".xyz", ".csv", ".npz"):
        symbols, places = read_molecule(tmp_path / f"a{suffix}")
        assert symbols == ["O", "H", "H"] and np.allclose(places, WATER)


@pytest.mark.parametrize(("name", "content"), [
    ("a.xyz", b""), ("b.xyz", b"3\n\nO 0 0 0\nH 0 0 1"), ("c.xyz", b"1\n\nO 0 0\n"), ("d.xyz", b"1\n\nO 0 0 nan\n"),
    ("e.csv", b"symbol,x,y,z\nO,0,0,0\n"), ("f.npz", b"no zip"), ("g.csv", b"element,x,y,z\n"), ("h.xyz", b"0\n\n"),
    ("i.csv", b"element,x,y,z\n,0,0,0\n"), ("j.xyz", b"-1\n\nO 0 0 0\n"), ("k.xyz", b"1\n\nO 0 0 0\n1\n\nO 0 0 1\n"),
])
def test_what_is_no_molecule_is_refused_by_name(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        MoleculeReader(elements=ELEMENTS).read(tmp_path / name)


def test_elements_are_symbols_and_a_trajectory_is_no_molecule(tmp_path):
    np.savez(tmp_path / "a.npz", elements=np.array([8, 1, 1]), points=WATER)
    with pytest.raises(ValueError, match="an element is its symbol, such as C, got 8"):
        read_molecule(tmp_path / "a.npz")
    step = write(tmp_path, "a.xyz", "OHH", WATER).read_text().replace("more that does not matter", "")
    (tmp_path / "a.xyz").write_text(step + step)
    with pytest.raises(ValueError, match="several molecules: write a file each"):
        read_molecule(tmp_path / "a.xyz")
    (tmp_path / "a.xyz").write_text(step.replace("3\n", "9\n", 1))
    with pytest.raises(ValueError, match="tells of 9 atoms and has 4 lines"):
        read_molecule(tmp_path / "a.xyz")


def test_elements_that_were_not_named_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="Cl: add it to adapter.codec.elements"):
        MoleculeReader(elements=ELEMENTS).read(write(tmp_path, "a.xyz", ["H", "CL"], np.eye(3)[:2]))


def test_turning_keeps_distances_and_elements(tmp_path):
    path = write(tmp_path, "a.xyz", "CHHHH", METHANE)
    reader = MoleculeReader(elements=ELEMENTS)
    fixed, turned = reader.read(path), reader.read(path, np.random.default_rng(0))
    assert torch.allclose(torch.cdist(fixed[:3].T, fixed[:3].T), torch.cdist(turned[:3].T, turned[:3].T), atol=1e-4)
    assert torch.equal(fixed[3:], turned[3:]) and not torch.allclose(fixed[:3], turned[:3], atol=0.1)
    assert torch.equal(MoleculeReader(elements=ELEMENTS, rotate="none").read(path, np.random.default_rng(0)), fixed)


def test_latents_are_centred_elements_weigh_as_told_and_decoding_inverts(tmp_path):
    reader = MoleculeReader(elements=ELEMENTS)
    samples = [reader.read(write(tmp_path, f"{i}.xyz", *m)) for i, m in enumerate([("OHH", WATER), ("CHHHH", METHANE)])]
    batch = pad([samples[0] + torch.tensor([5.0, 0, 0, 0, 0, 0])[:, None], samples[1]])
    codec = MoleculeCodec(elements=ELEMENTS, weight=0.25)
    codec.fit([batch])
    latents = codec.encode(batch)
    real = latents.x.movedim(1, -1)[batch.mask[:, 0]]
    assert torch.allclose(latents.x[:, :3].sum(-1), torch.zeros(2, 3), atol=1e-4)
    assert real[:, :3].square().mean().sqrt().item() == pytest.approx(1, abs=1e-4)
    assert real[:, 3:].square().mean().sqrt().item() == pytest.approx(0.25, abs=1e-4)
    back = codec.decode(Masked(latents.x + 0.02 * torch.randn_like(latents.x), latents.mask)).x
    assert torch.equal(back[:, 3:], batch.x[:, 3:])
    assert torch.cdist(back[1, :3].T, back[1, :3].T).allclose(torch.cdist(samples[1][:3].T, samples[1][:3].T), atol=0.2)


def test_written_molecules_read_back(tmp_path):
    sample = MoleculeReader(elements=ELEMENTS).read(write(tmp_path, "a.xyz", "OHH", WATER))
    codec = MoleculeCodec(elements=ELEMENTS)
    assert torch.allclose(codec.load(codec.save(sample, tmp_path / "b.xyz")), sample, atol=1e-4)
    with pytest.raises(ValueError, match=".xyz"):
        codec.save(sample, tmp_path / "b.ply")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the recipe on chains of three and four heavy atoms; two files hold what was not asked for."""
    folder, rng = tmp_path_factory.mktemp("molecules"), np.random.default_rng(0)
    for i, symbols in enumerate(map("".join, [*product("CO", repeat=3), *product("CO", repeat=4)])):
        write(folder, f"{i:02d}.xyz", *chain(symbols, rng))
    write(folder, "salt.xyz", ["Na", "Cl"], np.eye(3)[:2])
    mmdiff(
        "train", f"run={folder / 'run'}", "experiment=points/molecules", f"data.root={folder}",
        "adapter.codec.elements=[H,C,O]", "adapter.network.dim=16", "adapter.network.depth=1", "loader.budget=40",
        "loader.val=0.4", "trainer.max_steps=3", "trainer=cpu", "logger=csv", "preview.n=2", "preview.every=3",
        "sampler.steps=2",
    )
    return folder / "run"


def test_the_recipe_trains_and_generates_molecules_of_the_sizes_asked_for(run, tmp_path):
    assert "add it to adapter.codec.elements" in (run / "data.json").read_text()
    (tmp_path / "requests.csv").write_text("name,points,seed\na,3,0\nb,7,1\n")
    mmdiff("sample", run, f"requests={tmp_path / 'requests.csv'}", f"out={tmp_path / 'out'}")
    assert [len(read_molecule(tmp_path / "out" / f"{name}.xyz")[0]) for name in "ab"] == [3, 7]
    assert (tmp_path / "out" / "turntable.gif").exists()


def test_they_are_judged_in_the_sizes_of_held_out_ones(run, tmp_path):
    told = mmdiff("eval", run, f"out={tmp_path}", "evaluation.draws=4", "sampler.steps=2")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["protocol"]["name"] == "molecules_v1" and "molecules stable" in told
    rows = report["rows"]
    assert rows["real"]["molecules stable"]["value"] == rows["codec"]["molecules stable"]["value"] == 1
    assert rows["model"]["atoms stable"]["value"] < 0.9 < rows["real"]["atoms stable"]["value"]
    new = {name: rows[name]["valid, unique, new"]["value"] for name in ("real", "control: training samples")}
    assert new["control: training samples"] == 0 < new["real"]
    sizes = [len(read_molecule(path)[0]) for path in (tmp_path / "samples").rglob("*.xyz")]
    assert len(sizes) == rows["model"]["n"] and len(set(sizes)) > 3
    assert Path(report["pictures"]["model"]).is_file()


def test_elements_of_unknown_bonds_are_refused_before_an_embedder_is_trained(run, tmp_path):
    codec = MoleculeCodec(elements=["H", "Xe"])
    with pytest.raises(ValueError, match="bond lengths of Xe are not known"):
        codec.judge().stacked([torch.zeros(5, 3)], codec, {})
    told = mmdiff("eval", run, f"out={tmp_path}", "evaluation=points_v1", code=2)
    assert "judge it with evaluation=molecules_v1" in told and not list(tmp_path.rglob("*.safetensors"))


def test_bonds_are_drawn_between_the_atoms_that_have_them_in_the_colour_of_the_nearer_one():
    bent = torch.from_numpy(np.concatenate([WATER.T, np.eye(3)[[2, 0, 0]].T])).float()
    shown, apart = sticks(bent, "water", ELEMENTS), sticks(bent * torch.tensor([[9.0]] * 3 + [[1.0]] * 3), "", ELEMENTS)
    assert shown.points.shape == (3, 3 + 2 * BEADS) and apart.points.shape == (3, 3)
    distance = torch.cdist(shown.points.T, shown.points[:, :3].T)
    assert (distance[3:].amin(1) < 0.5).all()
    assert torch.equal(shown.colors[:, 3:], shown.colors[:, distance[3:].argmin(1)])
    assert sticks(torch.ones(5, 1), "", ["Xe", "H"]).points.shape == (3, 1)

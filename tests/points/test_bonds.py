"""Bonds from places: molecules whose bonds are known, graphs that are the same, and ones that are not."""

import numpy as np
import pytest
import torch

from mmdiff.adapters.points.bonds import DOUBLE, SINGLE, TRIPLE, VALENCES, Bonds
from mmdiff.data.batch import pad
from tests.points.made import chain

ELEMENTS = ["H", "C", "N", "O"]


def sample(symbols, places):
    kinds = np.eye(len(ELEMENTS))[[ELEMENTS.index(symbol) for symbol in symbols]]
    return torch.from_numpy(np.concatenate([np.array(places, float).T, kinds.T]).astype(np.float32))


def line(*atoms):
    """Symbols and their places on a line, in Angstrom."""
    return sample([symbol for symbol, _ in atoms], [(x, 0, 0) for _, x in atoms])


def found(*samples):
    bonds = Bonds(ELEMENTS)
    graphs = bonds.graphs(pad(list(samples)).x)
    return bonds, graphs


@pytest.mark.parametrize(("molecule", "orders"), [
    (line(("H", 0), ("C", 1.06), ("N", 2.21)), [1, 4, 3]),                        # hydrogen cyanide
    (line(("O", 0), ("C", 1.16), ("O", 2.32)), [2, 4, 2]),                        # carbon dioxide
    (line(("H", 0), ("C", 1.06), ("C", 2.26), ("H", 3.32)), [1, 4, 4, 1]),        # ethyne
    (line(("N", 0), ("N", 1.1)), [3, 3]),
    (line(("O", 0), ("O", 1.21)), [2, 2]),
])
def test_lengths_tell_single_double_and_triple_bonds(molecule, orders):
    bonds, graphs = found(molecule)
    assert graphs.bonds[0].tolist() == orders
    assert bonds.stable(graphs).all() and graphs.fragments().item() == 1


def test_an_atom_is_stable_with_as_many_bonds_as_its_element_can_have_and_no_other():
    whole = sample(*chain("CNO"))
    radical, apart = whole[:, :-1], torch.cat([whole, line(("C", 9.0))], 1)
    bonds, graphs = found(whole, radical, apart)
    stable = bonds.stable(graphs)
    atoms = whole.shape[1]
    assert stable[0, :atoms].all() and not stable[0, atoms:].any(), "padding is no atom"
    assert stable[1].sum() == atoms - 2, "the hydrogen, and the atom that it was bonded to"
    assert stable[2].sum() == atoms
    assert graphs.fragments().tolist() == [1, 1, 2]
    assert not bonds.over(graphs).any()
    bonds, graphs = found(torch.cat([whole, sample("H", [np.add(whole[:3, 0], (0, 0, 0.9))])], 1))
    assert graphs.bonds[0, 0] == 5 and bonds.over(graphs)[0, 0] and not bonds.stable(graphs)[0, 0]


def test_a_bond_closed_to_a_ring_is_counted():
    angle = np.arange(6) * np.pi / 3
    ring = np.stack([1.45 * np.cos(angle), 1.45 * np.sin(angle), 0 * angle], 1)
    _, graphs = found(sample("C" * 6, ring), sample("C" * 5, ring[:5]), sample(*chain("CCCCCC")))
    assert graphs.rings().tolist() == [1, 0, 0]


def test_keys_are_those_of_graphs_whatever_order_place_and_turn():
    rng = np.random.default_rng(0)
    chains = ["CCCO", "CCOC", "CCCN", "CNCC", "CCCC", "COCO", "CCO"]
    samples = [sample(*chain(symbols, rng)) for symbols in chains]
    _, graphs = found(*samples)
    assert len(set(graphs.keys().tolist())) == len(chains)
    same = [sample(*chain(symbols[::-1], rng)) for symbols in chains]
    same = [molecule[:, torch.from_numpy(rng.permutation(molecule.shape[1]))] for molecule in same]
    _, others = found(*same, sample(*chain("CCCCCCCC")))
    assert others.keys()[:-1].tolist() == graphs.keys().tolist()


def test_every_length_has_its_valence_and_longer_bonds_are_weaker():
    for tables in ((SINGLE, DOUBLE), (DOUBLE, TRIPLE)):
        for a, row in tables[1].items():
            assert all(length < tables[0][a][b] for b, length in row.items())
    assert {name for table in (SINGLE, DOUBLE, TRIPLE) for a, row in table.items() for name in (a, *row)} == {*VALENCES}


def test_an_element_of_unknown_bonds_is_refused_by_name():
    with pytest.raises(ValueError, match="bond lengths of Xe are not known"):
        Bonds(["H", "Xe"])

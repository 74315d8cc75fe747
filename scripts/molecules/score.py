"""How many generated molecules hold together: python scripts/molecules/score.py GENERATED --real FOLDER

    bonded     distance < 1.25 (r_a + r_b),   r covalent radii (Cordero et al. 2008);   too near: < 0.75 (r_a + r_b)
    right      an atom with as many neighbours as its element can have, none too near
    whole      a molecule of right atoms that are all connected

Beside the generated ones: as many real ones, and real ones with noise of 0.1 Angstrom.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components

from mmdiff.adapters.points.molecules import read_molecule
from mmdiff.metrics.bootstrap import bootstrap
from mmdiff.metrics.classify import share
from mmdiff.metrics.rows import Row, markdown

RADII = {"H": 0.31, "C": 0.76, "N": 0.71, "O": 0.66, "F": 0.57}
NEIGHBOURS = {"H": {1}, "C": {2, 3, 4}, "N": {1, 2, 3, 4}, "O": {1, 2}, "F": {1}}

Molecule = tuple[list[str], np.ndarray]


def judged(molecule: Molecule) -> tuple[float, bool]:
    """Share of right atoms, and whether it is whole."""
    symbols, places = molecule
    radius = np.array([RADII[symbol] for symbol in symbols])
    apart = np.linalg.norm(places[:, None] - places, axis=-1) / (radius[:, None] + radius)
    np.fill_diagonal(apart, np.inf)
    bonds = apart < 1.25
    right = np.array([n in NEIGHBOURS[s] for s, n in zip(symbols, bonds.sum(1), strict=True)]) & (apart > 0.75).all(1)
    return right.mean(), bool(right.all()) and connected_components(bonds)[0] == 1


def row(molecules: list[Molecule]) -> Row:
    """One row of the table."""
    atoms, whole = zip(*map(judged, molecules), strict=True)
    symbols = [symbol for found, _ in molecules for symbol in found]
    return {
        "n": len(molecules), "atoms right": bootstrap(torch.tensor(atoms), torch.mean),
        "molecules whole": share(torch.tensor(whole)),
        "elements": " ".join(f"{s} {symbols.count(s) / len(symbols):.2f}" for s in RADII),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generated", type=Path)
    parser.add_argument("--real", type=Path, required=True, help="folder of real molecules")
    args = parser.parse_args()
    made = [read_molecule(path) for path in sorted(args.generated.glob("*.xyz"))]
    paths = sorted(args.real.glob("*.xyz"))
    rng = np.random.default_rng(0)
    real = [read_molecule(paths[i]) for i in rng.permutation(len(paths))[: len(made)]]
    noisy = [(symbols, places + 0.1 * rng.standard_normal(places.shape)) for symbols, places in real]
    rows = {"real": real, "generated": made, "real, noise of 0.1 Angstrom": noisy}
    print(markdown([{"molecules": name, **row(part)} for name, part in rows.items()]))


if __name__ == "__main__":
    main()

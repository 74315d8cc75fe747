"""Write a folder of small molecules to train on, as those of QM9: C, N, O and F with their hydrogens.

    pip install rdkit && python scripts/molecules/make.py FOLDER [--n 10000] [--heavy 9] [--seed 0]

A random tree of at most ``heavy`` atoms, most often nearly as many, with up to two rings, each molecule once; embedded
in 3-D (ETKDG, Riniker & Landrum 2015) and relaxed (MMFF94). One .xyz file a molecule, its SMILES as the comment.
"""

import argparse
import random
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

VALENCE = {"C": 4, "N": 3, "O": 2, "F": 1}
SHARES = {"C": 70, "N": 14, "O": 14, "F": 2}
UNUSUAL = ({"O"}, {"O", "F"}, {"N", "F"}, {"F"})
"""Elements that GDB, where the molecules of QM9 come from, does not bond to each other."""


def graph(rng: random.Random, heavy: int) -> Chem.Mol | None:
    """A random molecule without its hydrogens, or None where it came to a dead end or is unusual."""
    count = max(rng.randint(2, heavy) for _ in range(4))
    symbols = rng.choices(list(SHARES), list(SHARES.values()), k=count)
    free, bonds = [VALENCE[symbol] for symbol in symbols], {}
    for i in range(1, count):
        open_ = [j for j in range(i) if free[j]]
        if not open_:
            return None
        j = rng.choice(open_[-3:])                                    # chains with branches rather than stars
        order = min(rng.choices((1, 2, 3), (80, 15, 5))[0], free[i], free[j])
        bonds[j, i] = order
        free[i], free[j] = free[i] - order, free[j] - order
    for _ in range(rng.choices((0, 1, 2), (30, 45, 25))[0]):
        i, j = sorted(rng.sample(range(count), 2))
        if free[i] and free[j] and (i, j) not in bonds:
            bonds[i, j] = 1
            free[i], free[j] = free[i] - 1, free[j] - 1
    if any({symbols[i], symbols[j]} in UNUSUAL for i, j in bonds):
        return None
    molecule = Chem.RWMol()
    for symbol in symbols:
        molecule.AddAtom(Chem.Atom(symbol))
    for (i, j), order in bonds.items():
        molecule.AddBond(i, j, Chem.BondType.values[order])
    return molecule.GetMol()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=10000, help="molecules")
    parser.add_argument("--heavy", type=int, default=9, help="atoms that are not hydrogen, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    args.folder.mkdir(parents=True, exist_ok=True)
    rng, seen = random.Random(args.seed), set()
    for _ in range(1000 * args.n):
        if len(seen) == args.n:
            break
        molecule = graph(rng, args.heavy)
        if molecule is None or Chem.SanitizeMol(molecule, catchErrors=True):
            continue
        if (name := Chem.MolToSmiles(molecule)) in seen:
            continue
        molecule = Chem.AddHs(molecule)
        if AllChem.EmbedMolecule(molecule, randomSeed=1) or AllChem.MMFFOptimizeMolecule(molecule, maxIters=500):
            continue
        seen.add(name)
        block = Chem.MolToXYZBlock(molecule).splitlines()
        (args.folder / f"{len(seen):05d}.xyz").write_text("\n".join([block[0], name, *block[2:]]) + "\n")
    print(f"{len(seen)} molecules in {args.folder}")


if __name__ == "__main__":
    main()

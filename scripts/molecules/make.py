"""Write a folder of small molecules to train on: chains and rings of C, N, O and F with their hydrogens.

    pip install rdkit && python scripts/molecules/make.py FOLDER [--n 2000] [--heavy 6] [--seed 0]

Random SMILES of 2 to ``heavy`` atoms that RDKit accepts, each once, embedded in 3-D (ETKDG, Riniker & Landrum 2015) and
relaxed (MMFF94). One .xyz file a molecule, its SMILES as the comment.
"""

import argparse
import random
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

ATOMS = ("C", "C", "C", "C", "N", "O", "F")
BONDS = ("", "", "", "", "=", "#")


def smiles(rng: random.Random, heavy: int) -> str:
    """A random string that may or may not be a molecule."""
    count, ring = rng.randint(2, heavy), rng.random() < 0.3
    parts, depth = [], 0
    for i in range(count):
        bond = rng.choice(BONDS) if i else ""
        branch = 0 < i < count - 1 and not depth and rng.random() < 0.2
        parts.append(("(" if branch else "") + bond + rng.choice(ATOMS) + ("1" if ring and i in (0, count - 1) else ""))
        if branch:
            parts.append(")")
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=2000, help="molecules")
    parser.add_argument("--heavy", type=int, default=6, help="atoms that are not hydrogen, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    args.folder.mkdir(parents=True, exist_ok=True)
    rng, seen = random.Random(args.seed), set()
    for _ in range(1000 * args.n):
        if len(seen) == args.n:
            break
        molecule = Chem.MolFromSmiles(smiles(rng, args.heavy))
        if molecule is None or (name := Chem.MolToSmiles(molecule)) in seen or "." in name:
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

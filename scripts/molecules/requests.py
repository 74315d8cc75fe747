"""Print N requests for ``mmdiff sample``, with sizes drawn from those of real molecules.

    python scripts/molecules/requests.py FOLDER N
"""

import random
import sys
from pathlib import Path

from mmdiff.adapters.points.molecules import read_molecule


def main() -> None:
    folder, n = Path(sys.argv[1]), int(sys.argv[2])
    sizes = [len(read_molecule(path)[0]) for path in sorted(folder.glob("*.xyz"))]
    rng = random.Random(0)
    print("name,points,seed")
    for i in range(n):
        print(f"{i:04d},{rng.choice(sizes)},{i}")


if __name__ == "__main__":
    main()

"""``python -m mmdiff``, and so ``torchrun -m mmdiff``."""

from mmdiff.cli import main

if __name__ == "__main__":
    main()

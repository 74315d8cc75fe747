"""The 300 requests of the FSDD table, as CSV: 5 clips of each digit by each speaker, seeds 0 to 299."""

from itertools import product

from features import CLASSES

print("digit,speaker,seed")
for seed, (digit, speaker, _) in enumerate(product(CLASSES["digit"], CLASSES["speaker"], range(5))):
    print(f"{digit},{speaker},{seed}")

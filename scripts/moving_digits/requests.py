"""The 512 requests of the Moving MNIST table, as CSV: digits in turn, seeds 0 to 511."""

print("digit,seed")
for seed in range(512):
    print(f"{seed % 10},{seed}")

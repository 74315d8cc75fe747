"""What computes a network in generation: engines, the precision they work in, and the files they read."""

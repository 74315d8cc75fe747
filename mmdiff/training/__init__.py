"""Lightning meets the model here, and nowhere else."""

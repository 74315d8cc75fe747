"""Tiny models of the three modalities, as training leaves them but for the learning, in a second each."""

from pathlib import Path

from mmdiff.store import save_model
from mmdiff.testing import Trial

TINY = {
    "audio": ["adapter.network.base=8", "adapter.network.multipliers=[1,2]", "adapter.conditioner.dim=16",
              "adapter.reader.seconds=0.25", "adapter.codec.vocoder.n_iter=2"],
    "video": ["adapter.reader.frames=4", "adapter.reader.height=16", "adapter.reader.width=16",
              "adapter.network.dim=32", "adapter.network.depth=1", "adapter.network.heads=2",
              "data=shapes", "adapter.network.patch=[2,4,4]", "adapter.conditioner.dim=8"],
    "points": ["data=solids", "adapter.reader.points=48", "adapter.network.dim=32", "adapter.network.depth=1",
               "adapter.network.heads=2", "adapter.conditioner.dim=8"],
}
LABELS = {
    "audio": {"instrument": "blown", "pitch": 60.0}, "video": {"shape": "disc"}, "points": {"solid": "cone"},
}


def made(modality: str, folder: Path, *words: str) -> Path:
    """The model file of a modality."""
    trial = Trial(modality, [*TINY[modality], "data.n=8", "loader.limit=8", "sampler.steps=2", *words], folder)
    path = folder / "model.safetensors"
    save_model(trial.awake, trial.stored, path, step=3)
    return path

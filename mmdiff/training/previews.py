"""Samples to look at and listen to while a run trains: always the same labels and seeds."""

from pathlib import Path
from typing import Any

from ..core.rng import Purpose, stream
from ..data.dataset import Dataset
from ..generate import Pipeline, Request
from ..model import DiffusionModel


class PreviewMaker:
    """Generates ``n`` samples with labels taken from a data set, and one picture of them."""

    def __init__(self, stored: dict[str, Any], dataset: Dataset, *, n: int, seed: int):
        self.stored = stored
        chosen = stream(seed, 0, Purpose.DATA).integers(len(dataset), size=n)
        self.requests = [Request(seed=i, labels=dataset.read(int(k))[1]) for i, k in enumerate(chosen)]

    def __call__(self, model: DiffusionModel, folder: Path) -> Path:
        """Write the samples and ``preview.png`` into ``folder``; gives the picture's path."""
        folder.mkdir(parents=True, exist_ok=True)
        pipeline = Pipeline(model, {"config": self.stored, "sha256": None})
        made = [sample for _, sample in pipeline.run(self.requests, len(self.requests), show_progress=False)]
        for request, sample in zip(self.requests, made, strict=True):
            model.codec.save(sample, folder / f"{request.seed:02d}{model.codec.suffix}")
        return model.codec.preview(made, [request.title for request in self.requests], folder / "preview.png")

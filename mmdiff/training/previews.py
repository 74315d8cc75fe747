"""Samples to look at and listen to while a run trains: always the same labels and seeds."""

from pathlib import Path
from typing import Any

from ..data.dataset import Dataset, spread
from ..generation.pipeline import Pipeline
from ..generation.request import Request
from ..model import DiffusionModel


class PreviewMaker:
    """Generates ``n`` samples with labels taken evenly from a data set, and one picture of them."""

    def __init__(self, stored: dict[str, Any], dataset: Dataset, *, n: int):
        self.stored = stored
        chosen = spread(len(dataset), n)
        self.requests = [Request(seed=i, labels=dataset.read(chosen[i % len(chosen)])[1]) for i in range(n)]

    def __call__(self, model: DiffusionModel, folder: Path) -> Path:
        """Write the samples and ``preview.png`` into ``folder``; gives the picture's path."""
        folder.mkdir(parents=True, exist_ok=True)
        pipeline = Pipeline(model, {"config": self.stored, "sha256": None})
        made = [sample for _, sample in pipeline.run(self.requests, len(self.requests), show_progress=False)]
        for request, sample in zip(self.requests, made, strict=True):
            model.codec.save(sample, folder / f"{request.seed:02d}{model.codec.suffix}")
        return model.codec.preview(made, [request.title for request in self.requests], folder / "preview.png")

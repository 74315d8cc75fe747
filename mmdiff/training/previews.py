"""What is looked at and listened to while a run trains: always the same samples, labels and seeds."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ..data.dataset import Dataset, spread
from ..learner import Learner


class PreviewMaker:
    """Shows what a learner makes of ``n`` samples evenly from a data set; ``size`` is that of a usual one."""

    def __init__(self, size: Mapping[str, float], dataset: Dataset, *, n: int):
        self.size, self.encoded = dict(size), dataset.encoded
        chosen = spread(len(dataset), n)
        self.shown = [dataset.read(chosen[i % len(chosen)]) for i in range(n)]
        self.beside = [dataset.beside(chosen[i % len(chosen)]) for i in range(n)] if dataset.maps else []

    def __call__(self, model: Learner, folder: Path) -> Path:
        """Write the samples and ``preview.png`` into ``folder``; gives the picture's path."""
        folder.mkdir(parents=True, exist_ok=True)
        samples, labels = zip(*self.shown, strict=True)
        beside = {"beside": self.beside} if self.beside else {}
        examples = model.preview(samples, labels, self.size, encoded=self.encoded, **beside)
        for i, (title, sample) in enumerate(examples):
            if not torch.isfinite(sample).all():
                raise FloatingPointError(f"sample {i} ({title}) holds NaN: is the model trained?")
            model.codec.save(sample, folder / f"{i:02d}{model.codec.suffix}")
        return model.codec.preview([sample for _, sample in examples], [title for title, _ in examples],
                                   folder / "preview.png")

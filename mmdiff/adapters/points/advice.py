"""A recipe for shapes that nobody has seen: how many points they have, and what ``docs/points.md`` measured."""

from collections.abc import Sequence
from pathlib import Path

from ...data.reader import Advice
from .files import load_shape

POINTS, SMALL_POINTS = 384, 192


def recipe(paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
    """What to train on shapes like ``paths`` with; none where no file can be read."""
    clouds, meshes = [], 0
    for path in paths:
        try:
            shape = load_shape(path)
        except (ValueError, OSError):                                 # it is skipped, and named, by the run
            continue
        meshes += shape.faces is not None
        clouds += [len(shape.points)] if shape.faces is None else []
    if not clouds and not meshes:
        return []
    wanted = SMALL_POINTS if small else POINTS
    points = min([wanted, *clouds])
    why = f"the smallest cloud has {min(clouds)}" if clouds else "meshes are sampled: any number"
    return [
        Advice("adapter.reader.points", str(points), f"{why}; any number is generated later"),
        Advice("diffusion.shift", "2.0", "what a shape is is decided in strong noise, which many points see through"),
        Advice("diffusion.time.std", "1.4", "training spends its steps around the shift"),
        Advice("optim", "muon", "fewer steps to the same loss in transformers"),
        Advice("optim.lr", "5.0e-3", "measured with Muon at this size"),
        Advice("optim.rest.lr", "2.0e-3", "of all that is no matrix of a block"),
        Advice("loader.batch_size", str(min(16, max(2, count // 2))), f"{count} files: small steps, many of them"),
    ]

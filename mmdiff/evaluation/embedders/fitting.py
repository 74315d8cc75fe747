"""Training of an embedder on the training split of a run's data, and its score on what was held out.

    loss = sum over fields of cross-entropy (classes) or squared error (scalars)
         + squared error of what the body should see besides, + cross-entropy of each frame alone

One seed and one order: a second run on the same machine gives the same weights, so two models of one data set are
judged alike without passing a file around.
"""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...adapters.judge import Judge
from ...data.labels import Fields, is_scalar
from .embedder import Embedder


def fit(
    samples: Tensor, labels: dict[str, Tensor], *, judge: Judge, fields: Fields, settings: dict[str, int],
    steps: int = 1000, batch: int = 64, lr: float = 3e-3, seed: int = 0,
) -> Embedder:
    """An embedder of ``samples`` ``(N, C, *S)`` with encoded ``labels`` (-1 and NaN: not told).

    Where no field is told it keeps its first, random weights: such features still tell sets apart, but know no class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Embedder(judge, fields, **settings)
        model.body.measure(samples)
        generator = torch.Generator().manual_seed(seed)
        if not fields:
            return model.eval().requires_grad_(False)
        batch = min(batch, len(samples))
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
        order = torch.empty(0, dtype=torch.long)
        for _ in (bar := tqdm(range(steps), "training the embedder", unit="step", leave=False)):
            if len(order) < batch:
                order = torch.randperm(len(samples), generator=generator)
            rows, order = order[:batch], order[batch:]
            loss = _loss(model, samples[rows], {name: column[rows] for name, column in labels.items()}, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval().requires_grad_(False)


def _loss(model: Embedder, x: Tensor, labels: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    seen, x = model.body.seen(x), model.body.augmented(x, generator)
    features = model.body(x)
    loss = features.new_zeros(())
    for name, field in model.fields.items():
        output, true = model.head(name, features), labels[name]
        if is_scalar(field):
            low, high = (float(v) for v in field)
            told = true.isfinite()
            loss = loss + (output[told, 0] - (true[told] - low) / max(high - low, 1e-12)).square().mean().nan_to_num()
        elif (true >= 0).any():
            loss = loss + nn.functional.cross_entropy(output, true, ignore_index=-1, label_smoothing=0.05)
    if model.frame_head is not None:
        frames, first = model.frame_head(model.body.frames(x)), labels[next(iter(model.classes))]
        repeated = first[:, None].expand(frames.shape[:2]).flatten()
        loss = loss + 0.5 * nn.functional.cross_entropy(frames.flatten(0, 1), repeated, ignore_index=-1)
    if model.seen_head is not None and seen is not None:
        loss = loss + (model.seen_head(features) - seen).square().mean()
    return loss


@torch.no_grad()
def scored(model: Embedder, samples: Tensor, labels: dict[str, Tensor]) -> dict[str, float]:
    """On held-out samples: accuracy of each class field, and mean absolute error of each scalar in its unit."""
    judged, scores = model.judge(samples), {}
    for name, field in model.fields.items():
        if is_scalar(field):
            low, high = (float(v) for v in field)
            said = low + (high - low) * model.head(name, judged.features)[:, 0]
            scores[f"{name}, mean error"] = float((said - labels[name]).abs().nanmean())
        else:
            scores[name] = float((judged.probabilities[name].argmax(1) == labels[name]).double().mean())
    return scores

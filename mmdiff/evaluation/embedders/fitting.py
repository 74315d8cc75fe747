"""Training of an embedder on the training split of a run's data, and its score on what was held out.

    loss = sum over fields of cross-entropy (classes) or squared error (scalars)
         + squared error of what the body should see besides, + cross-entropy of each frame alone

It is trained in cycles, each with a learning rate that rises and falls to zero, as only there a loss tells what the
steps were worth. One training sample in ten is kept aside, and the cycle that no longer lowers their loss is the last:

    L_k > (1 - GAIN) min(L_1 ... L_{k-1})   ->   stop, with the weights of the smallest L

The held-out samples of the run are not asked, as they are to judge. One seed and one order: a second run on the same
machine gives the same weights, so two models of one data set are judged alike without passing a file around.
"""

import copy
import math

import torch
from torch import Tensor, nn

from ...adapters.judge import Judge
from ...data.labels import Fields, is_scalar
from ...data.progress import progress_bar
from .embedder import Embedder

CYCLE = 125
"""Steps of a cycle."""
GAIN = 0.03
"""Relative fall of the loss kept aside below which a cycle was not worth its steps."""
ASIDE = 10
"""One in so many training samples is kept aside, where there are ``LEAST`` of them or more."""
LEAST = 80
"""Samples of which none is kept aside: eight would tell nothing, and all steps are taken."""


def fit(
    samples: Tensor, labels: dict[str, Tensor], *, judge: Judge, fields: Fields, settings: dict[str, int],
    steps: int = 1000, batch: int = 64, lr: float = 3e-3, seed: int = 0,
) -> Embedder:
    """An embedder of ``samples`` ``(N, C, *S)`` with encoded ``labels`` (-1 and NaN: not told), after ``steps`` or
    fewer; its ``facts`` say after how many.

    Where no field is told it keeps its first, random weights: such features still tell sets apart, but know no class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Embedder(judge, fields, **settings)
        model.body.measure(samples)
        generator = torch.Generator().manual_seed(seed)
        taken = _trained(model, samples, labels, steps=steps, batch=batch, lr=lr, generator=generator) if fields else 0
    model.facts = {"steps": taken}
    return model.eval().requires_grad_(False)


def _trained(
    model: Embedder, samples: Tensor, labels: dict[str, Tensor], *, steps: int, batch: int, lr: float,
    generator: torch.Generator,
) -> int:
    """Train; gives the number of steps."""
    order = torch.randperm(len(samples), generator=generator)
    aside, learned = order.tensor_split([len(order) // ASIDE if len(order) >= LEAST else 0])
    batch, queue = min(batch, len(learned)), learned[:0]
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-2)
    best, state, taken = math.inf, copy.deepcopy(model.state_dict()), 0
    with progress_bar(range(steps), "training the embedder", unit="step", leave=False) as bar:
        while taken < steps:
            length = min(CYCLE if len(aside) else steps, steps - taken)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, length)
            model.train()
            for _ in range(length):
                if len(queue) < batch:
                    queue = learned[torch.randperm(len(learned), generator=generator)]
                rows, queue = queue[:batch], queue[batch:]
                loss = _loss(model, samples[rows], {name: column[rows] for name, column in labels.items()}, generator)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
            taken += length
            if not len(aside):
                return taken
            known = _validation_loss(model, samples[aside], {name: column[aside] for name, column in labels.items()})
            bar.set_postfix(loss=f"{known:.3f}", refresh=False)
            worth = known < (1 - GAIN) * best
            if known < best:
                best, state = known, copy.deepcopy(model.state_dict())
            if not worth:
                break
    model.load_state_dict(state)
    return taken


@torch.no_grad()
def _validation_loss(model: Embedder, samples: Tensor, labels: dict[str, Tensor], batch: int = 64) -> float:
    """Mean loss of samples kept aside, made wrong as in training, and in the same way each time."""
    model.eval()
    generator, total = torch.Generator().manual_seed(0), 0.0
    for rows in torch.arange(len(samples)).split(batch):
        part = {name: column[rows] for name, column in labels.items()}
        total += len(rows) * _loss(model, samples[rows], part, generator).item()
    return total / len(samples)


def _loss(model: Embedder, x: Tensor, labels: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    seen, x = model.body.seen(x), model.body.augmented(x, generator)
    features = model.body(x)
    loss = features.new_zeros(())
    for name, field in model.fields.items():
        output, true = model.head(name, features), labels[name]
        if is_scalar(field):
            low, high = (float(v) for v in field)
            known = true.isfinite()
            loss = loss + (output[known, 0] - (true[known] - low) / max(high - low, 1e-12)).square().mean().nan_to_num()
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

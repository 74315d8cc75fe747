"""Whether samples are what their captions say: which of many captions is the nearest to a sample.

    u(sample), v(caption)   unit vectors of two networks that are trained together on the training split
    loss = cross-entropy of u v^T / temperature along rows and columns         (Radford et al. 2021, CLIP, figure 3)
    R@k  = share of samples whose own caption is among the k nearest of all distinct captions of the set

Samples of equal captions are all right for each other. Of real held-out samples R@1 says what the measure is worth,
that of captions shuffled among them what chance is. A folder of transformers that embeds sounds and texts (CLAP) serves
instead of training, and its name is then in that of the metric.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from .. import __version__
from ..adapters.judge import WIDTH, Judge
from ..adapters.texts import Bytes
from ..data.cached import cache_folder, keep, one_at_a_time
from ..data.dataset import spread
from ..data.labels import is_text
from ..data.progress import progress_bar
from ..metrics.bootstrap import Interval, bootstrap
from ..metrics.classify import proportion
from ..metrics.rows import Row
from .evaluated import FITTED, FITTED_BYTES, EvaluatedRun, Samples, real_samples
from .protocol import Protocol

SEES = 0.5
"""R@1 of real samples below which the measure cannot say of captions whether they are obeyed."""
SHUFFLED = "control: captions shuffled"
Embed = Callable[[Sequence[str]], Tensor]


class Pairs(NamedTuple):
    """What embeds samples ``(N, C, *S)`` and N texts alike, to ``(N, D)``; ``name`` is of what they are."""

    samples: Callable[[Tensor], Tensor]
    texts: Embed
    name: str = "own"


class JointEmbedder(nn.Module):
    """A judge's body and a small reader of texts, each with a projection to ``(B, WIDTH)``."""

    def __init__(self, judge: Judge, **settings: int):
        super().__init__()
        self.body, self.reader = judge.body(**settings), Bytes(length=256, truncate=True)
        self.seen, self.read = nn.Linear(WIDTH, WIDTH), nn.Linear(self.reader.width, WIDTH)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """``(N, WIDTH)`` of N texts."""
        states, mask = self.reader(list(texts), self.scale.device)
        return self.read((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1))

    def samples(self, x: Tensor) -> Tensor:
        """``(N, WIDTH)`` of samples."""
        return torch.cat([self.seen(self.body(part)) for part in x.split(64)])

    def loss(self, x: Tensor, texts: Sequence[str], match: Tensor) -> Tensor:
        """Of a batch; ``match`` ``(B, B)`` says which samples and texts belong together."""
        near = F.normalize(self.seen(self.body(x)), dim=1) @ F.normalize(self.texts(texts), dim=1).T * self.scale.exp()
        right = match / match.sum(1, keepdim=True)
        return (F.cross_entropy(near, right) + F.cross_entropy(near.T, right)) / 2


def fit(
    x: Tensor, captions: Sequence[Sequence[str]], *, judge: Judge, settings: Mapping[str, int], steps: int = 400,
    batch: int = 64, lr: float = 2e-3, seed: int = 0,
) -> JointEmbedder:
    """A joint embedder of samples ``(N, C, *S)`` that have some captions each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = JointEmbedder(judge, **settings)
        model.body.measure(x)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    kinds = {key: i for i, key in enumerate(dict.fromkeys(map(tuple, captions)))}
    kind = torch.tensor([kinds[tuple(several)] for several in captions])
    for _ in progress_bar(range(steps), "training what reads captions", unit="step", leave=False):
        rows = torch.randperm(len(x), generator=generator)[:batch]
        which = torch.rand(len(rows), generator=generator).tolist()
        texts = [captions[i][int(u * len(captions[i]))] for i, u in zip(rows.tolist(), which, strict=True)]
        match = (kind[rows, None] == kind[rows]).float()
        loss = model.loss(model.body.augmented(x[rows], generator), texts, match)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def trained(evaluated: EvaluatedRun, judge: Judge, field: str, steps: int) -> Pairs:
    """A joint embedder of a run's training split; one of the same samples and captions is trained once on a machine."""
    codec, count = evaluated.codec, len(evaluated.train)
    chosen = spread(count, min(FITTED, max(1, FITTED_BYTES // (4 * evaluated.train.read(0)[0].numel()))))
    captions = [list(evaluated.train.captions(i).get(field, ())) for i in chosen]
    captioned = [i for i, several in enumerate(captions) if several]
    x = real_samples(evaluated, judge, evaluated.train, len(chosen), title="reading training samples").x[captioned]
    captions = [captions[i] for i in captioned]
    settings = judge.settings(codec)
    identity = json.dumps([__version__, judge.name, settings, captions, steps])
    key = hashlib.sha256(x.numpy().tobytes() + identity.encode())
    cached = cache_folder() / "embedders" / f"{key.hexdigest()}.safetensors"
    with one_at_a_time(cached):
        model = JointEmbedder(judge, **settings)
        try:
            model.load_state_dict(safetensors.torch.load_file(cached))
        except (OSError, SafetensorError, RuntimeError):
            model = fit(x, captions, judge=judge, settings=settings, steps=steps)
            weights = {name: value.contiguous() for name, value in model.state_dict().items()}
            keep(cached, lambda file: file.write(safetensors.torch.save(weights)))
    model.eval().requires_grad_(False)
    return Pairs(model.samples, model.texts)


def retrieved(pairs: Pairs, x: Tensor, texts: Sequence[str]) -> Row:
    """R@1, R@5 and the mean cosine of samples ``(N, C, *S)`` that are to be what N ``texts`` say."""
    known = list(dict.fromkeys(texts))
    seen, read = (F.normalize(part.float(), dim=1) for part in (pairs.samples(x), pairs.texts(known)))
    near = seen @ read.T                                                          # (N, distinct texts)
    cosine = near.gather(1, torch.tensor([known.index(text) for text in texts])[:, None])
    rank = (near > cosine).sum(1)
    name = "" if pairs.name == "own" else f", {pairs.name}"
    row: Row = {"n": len(texts), "captions": len(known), f"R@1{name}": proportion(rank < 1)}
    return {**row, f"R@5{name}": proportion(rank < 5), f"cosine{name}": bootstrap(cosine[:, 0], resamples=500)}


@torch.no_grad()
def retrievals(
    evaluated: EvaluatedRun, protocol: Protocol, real: Samples, generated: Tensor, *, foreign: Pairs | None = None
) -> dict[str, dict[str, Row]]:
    """Rows of each text field: of ``real`` samples, of those ``generated`` with their labels, of shuffled captions."""
    found: dict[str, dict[str, Row]] = {}
    for field in [name for name, kind in evaluated.told.items() if is_text(kind)]:
        rows = [i for i, row in enumerate(real.labels) if row.get(field)]
        texts = [str(real.labels[i][field]) for i in rows]
        if len(set(texts)) < 2:
            print(f"{field} is not looked for among others: {len(set(texts))} of them differ")
            continue
        with torch.enable_grad():
            pairs = foreign or trained(evaluated, protocol.judge, field, protocol.captions)
        shuffled = [texts[(i + 1) % len(texts)] for i in range(len(texts))]
        found[field] = {
            "real": retrieved(pairs, real.x[rows], texts), "model": retrieved(pairs, generated[rows], texts),
            SHUFFLED: retrieved(pairs, real.x[rows], shuffled),
        }
    return found


def misread(retrieval: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """A line for each text field: where samples are further from their captions than real ones, or it cannot be said.
    """
    lines = []
    for field, rows in retrieval.items():
        metric = next(name for name in rows["real"] if name.startswith("R@1"))
        real, model = (value for row in ("real", "model") if isinstance(value := rows[row][metric], Interval))
        if real.value < SEES:
            lines.append(f"Whether {field} is obeyed cannot be said by retrieval: {metric} of real samples is "
                         f"{real.value:.0%}.")
        elif model.high < real.low:
            lines.append(f"{field} is obeyed less than by real samples: {metric} is {model.value:.0%}, of real samples "
                         f"{real.value:.0%}.")
    return lines

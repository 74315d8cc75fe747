"""Are captions obeyed? A table of what is seen or heard of what was asked for, by a run of built-in captioned data.

    python scripts/captions.py RUN [--n 64]

A row a kind of wish: combinations that were learned, a pair that was not, eleven others that were not; sentences that
were learned, and an order of words that was not. ``real`` is data of the same wishes, measured in the same way;
``shuffled`` are the samples of the first row against each other's wishes.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor

import mmdiff
from mmdiff.adapters.audio import captioned_notes, score_notes
from mmdiff.adapters.audio.measure import pitch
from mmdiff.adapters.video import captioned_shapes, score_shapes
from mmdiff.adapters.video.motion import centres
from mmdiff.adapters.video.shapes import BACKGROUND, COLOURS, SHAPES
from mmdiff.config.adapter import build_codec
from mmdiff.data.dataset import Dataset
from mmdiff.metrics.classify import proportion
from mmdiff.metrics.rows import markdown

Truth = dict[str, str]
Measure = Callable[[Sequence[Tensor]], list[Truth]]
STRIDE = 5
"""Every so many samples are taken: combinations come in turn, and no number of them is a multiple of it."""
SEED = 1
"""Of the real samples, and of the generated ones."""


class Wish(NamedTuple):
    """What is asked for, in words, and a real sample of it."""

    truth: Truth
    caption: str
    sample: Tensor


def watched(films: Sequence[Tensor]) -> list[Truth]:
    """Shape and colour by the nearest rendering of the middle frame, pace and direction by the way between the ends."""
    kinds, found = [(shape, colour) for shape in SHAPES for colour in COLOURS], []
    for film in films:
        where = centres(film[None], background=BACKGROUND, least=score_shapes.LEAST)[0]
        middle = film.shape[1] // 2
        nearest = score_shapes.nearest(film[:, middle].numpy(), where[middle].numpy(), kinds)
        shape, colour = kinds[nearest] if nearest >= 0 else ("", "")
        y, x = (where[-1] - where[0]).tolist()
        direction = ("down" if y > 0 else "up") if abs(y) > abs(x) else "right" if x > 0 else "left"
        fast = math.hypot(y, x) > 0.3 * (film.shape[1] - 1) / 8       # sides; 8 frames a second
        found.append({"shape": shape, "colour": colour, "pace": "fast" if fast else "slowly", "direction": direction})
    return found


def heard(notes: Sequence[Tensor], sample_rate: int, seconds: float) -> list[Truth]:
    """The instrument by its timbre, the height by the pitch."""
    made = score_notes.synthesised(score_notes.FITTED, sample_rate=sample_rate, seconds=seconds)
    instruments = score_notes.InstrumentClassifier(made, sample_rate)(notes)
    found = []
    for instrument, note in zip(instruments, notes, strict=True):
        number = 69 + 12 * math.log2(hertz / 440) if (hertz := pitch(note, sample_rate)) > 0 else math.nan
        distance = {name: abs(number - sum(ends) / 2) for name, ends in captioned_notes.HEIGHTS.items()}
        height = "" if math.isnan(number) else min(distance, key=lambda name: distance[name])
        found.append({"instrument": instrument, "height": height})
    return found


def wishes(data: Dataset, forms: Sequence[str], parts: Sequence[str], n: int, worded: Callable) -> list[Wish]:
    """``n`` wishes of the data whose part is one of ``parts``, of all their combinations; the sentences in turn."""
    chosen = (i for i in range(len(data)) if data.column(i)["part"] in parts)
    found = []
    for count, i in enumerate(islice(chosen, 0, STRIDE * n, STRIDE)):
        truth = {name: str(data.column(i)[name]) for name in data.known()}
        found.append(Wish(truth, worded(truth, forms[count % len(forms)]), data.read(i)[0]))
    return found


def row(asked: Sequence[Truth], seen: Sequence[Truth]) -> dict[str, object]:
    """Shares of what is as it was asked for, and of samples of which all is."""
    names = list(asked[0])
    right = {name: torch.tensor([a[name] == s[name] for a, s in zip(asked, seen, strict=True)]) for name in names}
    every = torch.stack(list(right.values())).all(0)
    return {"n": len(asked), **{name: proportion(column) for name, column in right.items()}, "all": proportion(every)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=64, help="samples of a row")
    arguments = parser.parse_args()
    pipeline = mmdiff.load(arguments.run)
    codec, reader = build_codec(pipeline.header["config"]["adapter"])
    pair = OmegaConf.load(Path(arguments.run) / "config.yaml").data.pair
    measure: Measure
    if "frames" in pipeline.size:
        kind, measure, unseen = captioned_shapes, watched, ["four"]
        data: Dataset = captioned_shapes.CaptionedShapes(n=9600, size=int(pipeline.size["width"]), pair=pair, seed=SEED)
    else:
        seconds = pipeline.size["seconds"]
        kind, unseen = captioned_notes, []
        data = captioned_notes.CaptionedNotes(reader, n=9000, pair=pair, seed=SEED)

        def measure(notes: Sequence[Tensor]) -> list[Truth]:
            return heard(notes, codec.reading["sample_rate"], seconds)

    told = pipeline.model.conditioner.fields

    def generated(asked: Sequence[Wish]) -> list[Truth]:
        labels: list[Mapping] = [{"caption": w.caption} if "caption" in told else w.truth for w in asked]
        requests = [mmdiff.Request(seed=SEED + i, labels=dict(label)) for i, label in enumerate(labels)]
        made = dict(pipeline.run(requests, 16))
        return measure([made[i] for i in range(len(requests))])

    table: dict[str, dict] = {}
    learned, forms, other = ["train", "seen"], kind.FORMS, [kind.UNSEEN_FORM]
    rows = {
        "learned": (forms, learned), "learned, other order of words": (other, learned),
        "pair not learned": (forms, ["pair"]), "pair not learned, other order": (other, ["pair"]),
    }
    if unseen:
        rows["four not learned"] = forms, unseen
    for name, (forms, parts) in rows.items():
        asked = wishes(data, forms, parts, arguments.n, kind.worded)
        truth, seen = [w.truth for w in asked], generated(asked)
        if not table:
            table["real"] = row(truth, measure([w.sample for w in asked]))
            table["shuffled"] = row(truth[1:] + truth[:1], seen)
        table[name] = row(truth, seen)
    print(markdown([{"": name, **values} for name, values in table.items()]))


if __name__ == "__main__":
    main()

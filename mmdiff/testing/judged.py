"""What ``mmdiff eval`` will ask of a judge, asked of a few real samples."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..adapters.judge import WIDTH, Body, Judge
from ..config import plugins
from ..data.dataset import spread
from .compare import kind
from .trial import Trial

COUNT = 8
"""Samples that are judged."""


def judged(judge: Judge, trial: Trial) -> int:
    """Have samples of the data judged; gives how many numbers were measured of each. Raises ``AssertionError``."""
    codec, size = trial.codec.modality, trial.stored["size"]
    name = getattr(judge, "name", None)
    assert isinstance(name, str), "a judge needs a name, by which its protocol is found"
    assert plugins.offered_by("evaluation", f"{name}_v1"), f"the judge's protocol {name}_v1.yaml is missing"
    samples, rows = zip(*(trial.dataset.read(i) for i in spread(len(trial.dataset), COUNT)), strict=True)
    x = judge.stacked(list(samples), codec, size)
    _finite("stacked()", x, len(samples))
    assert x.ndim == samples[0].ndim + 1, f"stacked() gives {kind(x)} of samples {kind(samples[0])}"
    parts = judge.parted(x)
    assert len(parts) == len(x), f"parted() gives {len(parts)} of {len(x)} samples"
    _files(judge, trial, parts[0], x)
    _finite("latents()", judge.latents(x, codec), len(x))
    known = judge.known(iter(samples), codec)
    results = {
        "values": judge.values(x, codec), "fractions": judge.fractions(x, codec, known),
        "errors": judge.errors(x, rows, codec), "paired": judge.paired(x, x),
    }
    for method, found in results.items():
        _columns(method, found, len(x))
    for name, fault in judge.faults(x, torch.Generator().manual_seed(0)).items():
        assert fault.shape == x.shape, f"faults(): {name!r} is {kind(fault)}, and the samples are {kind(x)}"
        _finite(f"faults(): {name!r}", fault, len(x))
    for name, (measured, number) in judge.between(x, codec).items():
        assert len(measured) == len(x), f"between(): {name!r} measures {kind(measured)} of {len(x)} samples"
        assert float(number(measured, measured)) < torch.inf, f"between(): {name!r} of a set and itself is not finite"
    judge.matrices(x, x)
    settings = judge.settings(codec)
    if type(judge).body is not Judge.body:
        _body(judge.body(**settings), x)
    return sum(map(len, results.values()))


def _body(body: Body, x: Tensor) -> None:
    assert isinstance(body, Body), f"body() gives a {type(body).__name__}, not a mmdiff.adapters.judge.Body"
    body.measure(x)
    seen = body.augmented(x, torch.Generator().manual_seed(0))
    _finite("augmented() of the body", seen, len(x))
    with torch.no_grad():
        features = body.eval()(seen)
    assert features.shape == (len(x), WIDTH), f"the body gives {kind(features)}, not ({len(x)}, WIDTH = {WIDTH})"
    _finite("the body", features, len(x))


def _files(judge: Judge, trial: Trial, sample: Tensor, x: Tensor) -> None:
    """Generated samples are judged as their files hold them."""
    codec, size = trial.codec.modality, trial.stored["size"]
    path = codec.save(sample, trial.folder / f"judged{judge.suffix or codec.suffix}")
    again = judge.stacked([codec.load(path, **size)], codec, size)
    assert judge.native_sizes or again.shape == x[:1].shape, f"read from its {path.suffix}, a sample is {kind(again)}"


def _columns(method: str, found: Mapping[str, Tensor], count: int) -> None:
    for name, column in found.items():
        assert column.shape == (count,), f"{method}(): {name!r} is {kind(column)}, not ({count},)"
        assert not column.isinf().any(), f"{method}(): {name!r} is infinite for a real sample"


def _finite(what: str, x: Tensor, count: int) -> None:
    assert len(x) == count, f"{what} gives {kind(x)} of {count} samples"
    assert x.isfinite().all(), f"{what} gives NaN or infinite numbers of real samples"

"""What a codec loses, and what its latents are like: asked before anybody trains on them.

    decoded      held-out samples against what comes back of them: the modality's own measures, mean and gain
                 with an embedder: how many of each are seen or heard as what they are
    latent       mean, deviation and excess kurtosis of each channel, the greatest correlation of two
    spectrum     share of a latent's energy in the upper half of the frequencies of each axis: 0.5 is white noise
    smoothness   the same measures where noise of s deviations was added to the latent

A latent is easy to generate where its channels are alike and near normal, its spectrum falls as that of pictures does,
and a little noise on it costs little.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapters.judge import Judge
from ..codec import CodecModel
from ..config.build import ConfigError
from ..core.rng import Purpose, normal
from ..core.types import Masked
from ..data.dataset import Dataset, spread
from ..data.labels import Label, text
from ..data.writing import write_atomic
from ..metrics.bootstrap import Interval, bootstrap
from ..metrics.classify import proportion
from ..metrics.rows import Row, markdown, plain
from .embedders.embedder import Embedder, Foreign
from .scorer import LEAST

NOISES = (0.1, 0.2, 0.4)
"""Deviations of the noise on a latent."""
SHOWN = 6
"""Samples in the picture."""


@torch.no_grad()
def codec_report(
    model: CodecModel, header: dict[str, Any], held_out: Dataset, *, n: int, out: Path,
    embedder: Embedder | Foreign | None = None,
) -> dict[str, Any]:
    """Judge the codec of a file with this ``header`` on ``n`` held-out samples, and write ``codec.json``, ``codec.md``
    and ``codec.png`` into ``out``; ``embedder`` says of each sample what is seen or heard."""
    if len(held_out) < LEAST:
        raise ConfigError(f"{len(held_out)} samples were held out (loader.val): a codec is judged on {LEAST} at least")
    chosen, codec = spread(len(held_out), n), model.codec
    judge, size = codec.judge(), header["config"]["size"]
    samples = [held_out.read(i)[0] for i in chosen]
    latents = [codec.encode(Masked(sample[None].to(model.device))).x[0].cpu() for sample in samples]
    scale = torch.cat([z.flatten(1) for z in latents], 1).std(1)
    columns = [held_out.column(i) for i in chosen]
    rows: list[Row] = []
    if embedder is not None:
        rows.append({"": "real", **_right(embedder, judge, codec, samples, columns, size)})
    decoded: list[Tensor] = []
    for noise in (0.0, *NOISES):
        moved = [_moved(z, scale, noise, i) for i, z in enumerate(latents)]
        back = [_decoded(model, z, sample) for z, sample in zip(moved, samples, strict=True)]
        decoded = decoded or back
        row = {"": f"noise {noise:g}" if noise else "decoded", **_errors(judge, codec, back, samples, size)}
        if embedder is not None:
            row |= _right(embedder, judge, codec, back, columns, size)
        rows.append(row)
    report = {"sha256": header["sha256"], "step": header.get("step"), "n": len(samples), "rows": rows,
            "latent": _channels(latents), "spectrum": _spectrum(latents), "numbers": _numbers(latents, samples)}
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "codec.md", described(report).encode())
    write_atomic(out / "codec.json", json.dumps({**report, "rows": [plain(row) for row in rows]}, indent=1).encode())
    pairs = [(title, x) for i in range(min(SHOWN, len(samples))) for title, x in
             (("real", samples[i]), ("decoded", decoded[i]))]
    codec.preview([x for _, x in pairs], [title for title, _ in pairs], out / "codec.png")
    return report


def described(report: dict[str, Any]) -> str:
    """A report as text."""
    latent = [{"channel": i, **row} for i, row in enumerate(report["latent"]["channels"])]
    high = ", ".join(f"{energy:.3f}" for energy in report["spectrum"]) or "no axis is long enough"
    return "\n\n".join([
        f"# What a codec loses: {report['n']} held-out samples",
        f"A sample of {report['numbers'][0]} numbers has a latent of {report['numbers'][1]}.",
        markdown(report["rows"]), "## The latent", markdown(latent),
        f"Greatest correlation of two channels: {report['latent']['correlation']:.3f}. Energy in the upper half of the "
        f"frequencies, an axis each (0.5 is white noise): {high}.",
    ]) + "\n"


def _moved(z: Tensor, scale: Tensor, noise: float, draw: int) -> Tensor:
    if not noise:
        return z
    eps = normal(0, torch.tensor([draw]), Purpose.VALIDATION, Masked(z[None]))[0]
    return z + noise * scale.reshape(-1, *(1,) * (z.ndim - 1)) * eps


def _decoded(model: CodecModel, z: Tensor, sample: Tensor) -> Tensor:
    decoded = model.codec.decode_sized(Masked(z[None].to(model.device)), **model.codec.size(sample)).x[0]
    return model.codec.finished(decoded.float().cpu())[0]


def _errors(judge: Judge, codec: Any, decoded: Sequence[Tensor], real: Sequence[Tensor], size: dict[str, float]) -> Row:
    """The judge's distances to the samples themselves, and how far level and contrast are off."""
    there = [codec.base.features(Masked(x[None])).x[0] for x in real]             # as it is decoded: normalised
    x, truth = (judge.stacked(list(part), codec.modality, size) for part in (decoded, there))
    values = judge.paired(x, truth)
    flat, true = x.flatten(1).double(), truth.flatten(1).double()
    values["mean off"] = flat.mean(1) - true.mean(1)
    values["gain, dB"] = 20 * (flat.std(1).clamp(min=1e-8) / true.std(1).clamp(min=1e-8)).log10()
    return {name: bootstrap(value, resamples=500) for name, value in values.items()}


def _right(
    embedder: Embedder | Foreign, judge: Judge, codec: Any, samples: Sequence[Tensor],
    columns: Sequence[Mapping[str, Label]], size: dict[str, float],
) -> Row:
    """The shares of samples whose classes are seen or heard."""
    found = embedder.judge(judge.stacked(list(samples), codec.modality, size)).probabilities
    row: dict[str, str | int | float | Interval] = {}
    for name, classes in embedder.classes.items():
        true = [text(column[name]) for column in columns if name in column]
        if len(true) == len(columns):
            row[f"{name} right"] = proportion(torch.tensor([list(classes)[i] == one for i, one in zip(
                found[name].argmax(1).tolist(), true, strict=True)]))
    return row


def _channels(latents: Sequence[Tensor]) -> dict[str, Any]:
    x = torch.cat([z.flatten(1) for z in latents], 1).double()        # (C, positions)
    mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True).clamp(min=1e-12)
    kurtosis = ((x - mean) / std).pow(4).mean(1) - 3
    correlation = torch.corrcoef(x) if len(x) > 1 else torch.ones(1, 1)
    apart = (correlation - torch.eye(len(x))).abs().nan_to_num()
    rows = zip(mean[:, 0].tolist(), std[:, 0].tolist(), kurtosis.tolist(), strict=True)
    return {"channels": [{"mean": m, "deviation": s, "excess kurtosis": k} for m, s, k in rows],
            "correlation": float(apart.max())}


def _spectrum(latents: Sequence[Tensor]) -> list[float]:
    """The share of the upper half of the frequencies, of each axis of 4 positions or more."""
    ratios = []
    for axis in range(1, latents[0].ndim):
        found = []
        for z in (z for z in latents if z.shape[axis] >= 4):
            power = torch.fft.rfft((z - z.mean(axis, keepdim=True)).double(), dim=axis).abs().square()
            power = power.transpose(axis, -1).flatten(0, -2).sum(0)[1:]           # without the mean
            found.append(float(power[len(power) // 2 :].sum() / power.sum().clamp(min=1e-12)))
        ratios += [sum(found) / len(found)] if found else []
    return ratios


def _numbers(latents: Sequence[Tensor], samples: Sequence[Tensor]) -> tuple[int, int]:
    return samples[0].numel(), latents[0].numel()

"""Series of numbers: level, spread, roughness and spectrum. What adapters of other packages are judged by unless they
bring their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.types import Masked
from ..judge import Body, Judge
from .body import SeriesBody

TINY = 1e-12


class SeriesJudge(Judge):
    """Samples ``(N, C, T)`` in whatever unit; statistics are means over channels."""

    name, suffix = "series", None
    better: Mapping[str, int] = {"RMSE, spreads": -1}

    def body(self, **settings: int) -> Body:
        return SeriesBody(**settings)

    def settings(self, codec: Any) -> dict[str, int]:
        return {"channels": _decoded(codec, 64).shape[0]}

    def stacked(self, samples: Sequence[Tensor], codec: Any, size: Mapping[str, float]) -> Tensor:
        """Cropped to the length of a generated sample; a shorter one holds its last value."""
        if samples[0].ndim != 2:
            raise ValueError(
                f"series_v1 judges samples (C, T), and these are {tuple(samples[0].shape)}: docs/adapters.md says how "
                "another shape is judged"
            )
        length = _decoded(codec, *codec.latent_shape(**size)).shape[-1]
        return torch.stack([
            nn.functional.pad(s[:, :length], (0, max(0, length - s.shape[-1])), mode="replicate") for s in samples
        ])

    def latents(self, x: Tensor, codec: Any) -> Tensor:
        return codec.encode(Masked(x)).x.flatten(1)

    def values(self, x: Tensor, codec: Any) -> dict[str, Tensor]:
        x = x.double()
        mean, spread = x.mean(-1), x.std(-1)
        power = torch.fft.rfft(x - mean[..., None]).abs().square()[..., 1:]
        cycles = torch.fft.rfftfreq(x.shape[-1], dtype=x.dtype)[1:]
        divisor = torch.where(spread > TINY, spread, torch.nan)       # nothing is rough or frequent in a constant
        found = {
            "level": mean, "spread": spread, "roughness": x.diff(dim=-1).abs().mean(-1) / divisor,
            "peak, spreads": (x - mean[..., None]).abs().amax(-1) / divisor,
            "frequency, cycles a position": (power * cycles).sum(-1)
            / torch.where(divisor > 0, power.sum(-1), torch.nan),
        }
        return {name: value.nanmean(1) for name, value in found.items()}

    def paired(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        spread = _spread(truth)
        divisor = torch.where(spread > TINY, spread, torch.nan)       # a constant has no spread to count in
        return {"RMSE, spreads": ((x - truth).double() / divisor).square().mean(-1).nanmean(1).sqrt()}

    def faults(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        spread, length = _spread(x).to(x.dtype), x.shape[-1]
        noise = torch.randn(x.shape, generator=generator)
        hole = x.clone()
        hole[..., length // 4 : length // 2] = x.mean(-1, keepdim=True)
        smooth = nn.functional.avg_pool1d(nn.functional.pad(x, (2, 2), mode="replicate"), 5, 1)
        return {
            "noise, 0.3 spreads": x + 0.3 * spread * noise,
            "smoothed over 5": smooth,
            "hole, a quarter": hole,
            "twice as far from the mean": 2 * x - x.mean((0, 2), keepdim=True),
            "backwards": x.flip(-1),
            "white noise": x.mean((0, 2), keepdim=True) + spread * noise,
            "one series for all": x[:1].expand_as(x).clone(),
            "labels shuffled": x.roll(max(1, len(x) // 3), 0),
        }


def _spread(x: Tensor) -> Tensor:
    """Standard deviation of each channel over samples and positions ``(1, C, 1)``."""
    return x.double().std((0, 2), keepdim=True).clamp(min=TINY)


@torch.no_grad()
def _decoded(codec: Any, *shape: int) -> Tensor:
    """A sample ``(C, T)`` of zeros in the latent."""
    device = next(iter(codec.state_dict().values()), torch.zeros(())).device
    return codec.decode(Masked(torch.zeros(1, codec.channels, *shape, device=device))).x[0]

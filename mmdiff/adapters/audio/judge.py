"""Sound: levels, pitch and spectra."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.functional import resample

from ...core.types import Masked
from ..judge import Between, Body, Judge, Rows
from .body import SoundBody
from .measure import cents, clipped, pitch, rms, silent
from .notes import frequency
from .spectra import log_spectral_distance, mean_power, spectrum_distance

QUIET = 1e-5
"""Level below which sound counts as silence: -100 dB."""


class AudioJudge(Judge):
    """Waves ``(N, 1, L)`` at the codec's rate. ``shifts``: frames by which a training sound may start
    later and still be copied.

    A label ``pitch`` is a MIDI number, and the error to it is measured; others are not.
    """

    name, suffix, preprocessor = "audio", ".wav", "AutoFeatureExtractor"
    better: Mapping[str, int] = {
        "pitch error, cents": -1, "log-spectral distance, dB": -1, "spectrum, dB": -1,
    }

    def __init__(self, *, shifts: int = 3):
        self.shifts = shifts

    def body(self, **settings: int) -> Body:
        return SoundBody(**settings)

    def prepared(self, x: Tensor, prepare: Any, model: Any, **settings: int) -> Any:
        """Waves at the network's rate, as long as it takes them."""
        rate, limit = prepare.sampling_rate, getattr(prepare, "nb_max_samples", None)
        waves = resample(x[:, 0], settings["sample_rate"], rate)[:, :limit]
        return prepare(list(waves.numpy()), sampling_rate=rate, return_tensors="pt")

    def settings(self, codec: Any) -> dict[str, int]:
        return {"sample_rate": codec.sample_rate}

    def stacked(self, samples: Sequence[Tensor], codec: Any, size: Mapping[str, float]) -> Tensor:
        """Cropped or followed by silence."""
        length = round(size["seconds"] * codec.sample_rate)
        return torch.stack([nn.functional.pad(s[:1, :length], (0, max(0, length - s.shape[-1]))) for s in samples])

    def latents(self, x: Tensor, codec: Any) -> Tensor:
        """Whitened log-mels of sounds of peak 0.9."""
        waves = 0.9 * x / x.abs().amax((1, 2), keepdim=True).clamp(min=1e-8)
        return torch.cat([codec.compared(Masked(part)) for part in waves.split(64)])

    def values(self, x: Tensor, codec: Any) -> dict[str, Tensor]:
        heard = torch.tensor([pitch(sample, codec.sample_rate) for sample in x], dtype=torch.float64)
        return {
            "pitch, semitones": 12 * torch.log2(heard / 440) + 69,
            "voiced": heard.isfinite().double(),
            "silence": torch.tensor([silent(sample) for sample in x], dtype=torch.float64),
            "level, dB": torch.tensor([20 * math.log10(max(rms(sample), QUIET)) for sample in x], dtype=torch.float64),
            "clipping": torch.tensor([clipped(sample) for sample in x], dtype=torch.float64),
        }

    def errors(self, x: Tensor, labels: Rows, codec: Any) -> dict[str, Tensor]:
        asked = [value for row in labels if isinstance(value := row.get("pitch"), int | float)]
        if len(asked) < len(labels):
            return {}
        heard = [abs(cents(pitch(s, codec.sample_rate), frequency(value))) for s, value in zip(x, asked, strict=True)]
        return {"pitch error, cents": torch.tensor(heard, dtype=torch.float64)}

    def paired(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"log-spectral distance, dB": log_spectral_distance(x, truth)}

    def between(self, x: Tensor, codec: Any) -> dict[str, tuple[Tensor, Between]]:
        return {"spectrum, dB": (mean_power(x), spectrum_distance)}

    def faults(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        length, noise = x.shape[-1], torch.randn(x.shape, generator=generator)
        loud = x.abs().amax((1, 2), keepdim=True)
        half = nn.functional.interpolate(x, size=length // 2, mode="linear")
        low = torch.fft.rfft(x)
        low[..., low.shape[-1] // 4 :] = 0
        hole = x.clone()
        hole[..., length // 4 : length // 2] = 0
        return {
            "noise, 20 dB below": x + 0.1 * x.square().mean((1, 2), keepdim=True).sqrt() * noise,
            "lowpass, a quarter": torch.fft.irfft(low, length),
            "clipped, 5 times": (5 * x / loud.clamp(min=1e-8)).clamp(-1, 1),
            "hole, a quarter": hole,
            "an octave up": torch.cat([half, torch.zeros_like(x[..., : length - half.shape[-1]])], -1),
            "backwards": x.flip(-1),
            "white noise": loud * noise / noise.abs().amax((1, 2), keepdim=True),
            "one sound for all": x[:1].expand_as(x).clone(),
            "labels shuffled": x.roll(max(1, len(x) // 3), 0),
        }

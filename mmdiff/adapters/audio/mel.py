"""Log-mel spectrograms, and the one value that all who exchange them must agree on.

    frame k stands for the samples [k hop, (k + 1) hop),      T = ceil(L / hop)
    S[f, k] = | sum_n w[n] x[k hop - left + n] e^(-2 pi i f n / n_fft) | ^ power
    log-mel = ln max(A S, floor),                             A (n_mels, F) triangular filters

``left`` is n_fft / 2 where windows are centred on the start of their hop (torchaudio, Vocos) and (n_fft - hop) / 2
where they are centred on its middle (HiFi-GAN, BigVGAN). Outside the clip the signal is mirrored. The mirror hangs on
each clip's own length, so neither padding nor the rest of a batch changes a frame.
"""

from dataclasses import asdict, dataclass

import torch
import torchaudio.functional as AF
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class MelSpec:
    """Settings of a log-mel spectrogram; ``f_min``, ``f_max`` in Hz, lengths in samples.

    ``centre`` is "start" or "middle": the part of its hop that a window is centred on. ``power`` 1 is magnitude, 2
    energy. ``norm`` "slaney" divides each filter by its width, None leaves peaks at 1. ``mel_scale`` "slaney" or "htk".
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int
    f_max: float
    f_min: float = 0.0
    win_length: int | None = None
    floor: float = 1e-5
    power: float = 1.0
    norm: str | None = "slaney"
    mel_scale: str = "slaney"
    centre: str = "middle"

    def __post_init__(self) -> None:
        win_length = self.win_length or self.n_fft
        object.__setattr__(self, "win_length", win_length)
        if not 0 < 2 * self.hop_length <= win_length <= self.n_fft:
            raise ValueError(
                "windows must overlap by half at least: need 0 < 2 hop_length <= win_length <= n_fft, got "
                f"hop_length={self.hop_length}, win_length={win_length}, n_fft={self.n_fft}"
            )
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"need 0 <= f_min < f_max <= sample_rate / 2 = {self.sample_rate / 2:g} Hz, got f_min={self.f_min:g}, "
                f"f_max={self.f_max:g}"
            )
        if self.floor <= 0:
            raise ValueError(f"floor must be positive for its logarithm to exist, got {self.floor}")
        if self.centre not in ("start", "middle"):
            raise ValueError(f"centre is 'start' or 'middle', got {self.centre!r}")

    @staticmethod
    def named(name: str) -> "MelSpec":
        """A preset; ``ValueError`` lists them."""
        if name not in PRESETS:
            raise ValueError(f"no mel settings named {name!r}; there are {', '.join(PRESETS)}")
        return PRESETS[name]

    @property
    def left(self) -> int:
        """Samples by which the first window reaches before the clip."""
        return self.n_fft // 2 if self.centre == "start" else (self.n_fft - self.hop_length) // 2

    @property
    def log_floor(self) -> float:
        """The least value of a log-mel spectrogram."""
        return float(torch.tensor(self.floor, dtype=torch.float64).log())

    def frames(self, samples: int) -> int:
        """Frames of a clip: those that start inside it."""
        return -(-samples // self.hop_length)

    def samples(self, frames: int) -> int:
        """Samples that ``frames`` stand for; ``frames(samples(T)) == T``."""
        return frames * self.hop_length

    def difference(self, other: "MelSpec") -> str:
        """The fields in which two settings differ, such as ``hop_length 256 != 64``; empty if they agree."""
        a, b = asdict(self), asdict(other)
        return ", ".join(f"{name} {a[name]} != {b[name]}" for name in a if a[name] != b[name])

    def basis(self) -> Tensor:
        """Filters ``(n_mels, n_fft / 2 + 1)``."""
        return AF.melscale_fbanks(
            self.n_fft // 2 + 1, self.f_min, self.f_max, self.n_mels, self.sample_rate, self.norm, self.mel_scale
        ).T.contiguous()

    def window(self) -> Tensor:
        """Periodic Hann window ``(n_fft,)``, centred where ``win_length`` is less than ``n_fft``."""
        win_length = self.win_length or self.n_fft
        spare = self.n_fft - win_length
        return nn.functional.pad(torch.hann_window(win_length), (spare // 2, spare - spare // 2))


PRESETS = {
    "speech_8k": MelSpec(sample_rate=8000, n_fft=256, hop_length=64, n_mels=64, f_max=4000, centre="start"),
    "speech_8k_48": MelSpec(sample_rate=8000, n_fft=512, hop_length=128, n_mels=48, f_max=4000, centre="start"),
    "audioldm_16k": MelSpec(sample_rate=16000, n_fft=1024, hop_length=160, n_mels=64, f_max=8000),
    "hifigan_22k": MelSpec(sample_rate=22050, n_fft=1024, hop_length=256, n_mels=80, f_max=8000),
    "vocos_24k": MelSpec(
        sample_rate=24000, n_fft=1024, hop_length=256, n_mels=100, f_max=12000, floor=1e-7, norm=None, mel_scale="htk",
        centre="start",
    ),
    "bigvgan_44k": MelSpec(sample_rate=44100, n_fft=2048, hop_length=512, n_mels=128, f_max=22050),
}
"""Sources: Kong et al. 2020 (HiFi-GAN, config_v1), Lee et al. 2023 (BigVGAN v2, 44 kHz 128 bands 512x), Siuzdak 2024
(Vocos, mel 24 kHz), Liu et al. 2023 (AudioLDM). The two for 8 kHz are ours: their short hop suits Griffin-Lim."""


class LogMel(nn.Module):
    """Waveforms ``(B, L)`` of ``lengths`` ``(B,)`` to log-mel ``(B, n_mels, ceil(L / hop))``.

    Values beyond a clip's length are not read. Frames beyond ``spec.frames(length)`` mean nothing.
    """

    window: Tensor
    basis: Tensor

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.spec = spec
        self.register_buffer("window", spec.window(), persistent=False)
        self.register_buffer("basis", spec.basis(), persistent=False)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        spec = self.spec
        size = spec.samples(spec.frames(waveform.shape[-1]) - 1) + spec.n_fft
        position = torch.arange(size, device=waveform.device) - spec.left
        padded = waveform.gather(1, mirror(position, lengths[:, None]))
        spectrum = AF.spectrogram(
            padded, pad=0, window=self.window, n_fft=spec.n_fft, hop_length=spec.hop_length, win_length=spec.n_fft,
            power=spec.power, normalized=False, center=False,
        )                                                             # (B, F, T)
        return (self.basis @ spectrum).clamp(min=spec.floor).log()


def mirror(position: Tensor, length: Tensor) -> Tensor:
    """Any integer position to one in [0, length): 0 1 2 1 0 1 2 ... for length 3 (the ends are not repeated)."""
    period = (2 * (length - 1)).clamp(min=1)
    phase = position % period
    return torch.minimum(phase, period - phase).clamp(max=length - 1)


def overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """``(B, n, T)``, n samples every ``hop``, summed where they overlap -> ``(B, (T - 1) hop + n)``."""
    batch, size, frames = pieces.shape
    turns, pieces = -(-size // hop), pieces.mT
    if spare := turns * hop - size:
        pieces = nn.functional.pad(pieces, (0, spare))
    out = pieces.new_zeros(batch, frames + turns - 1, hop)
    for k in range(turns):
        out[:, k : k + frames] += pieces[:, :, k * hop : (k + 1) * hop]
    return out.flatten(1)[:, : (frames - 1) * hop + size]


def agreeing(x: Tensor, mel: Tensor, basis: Tensor, *, iterations: int) -> Tensor:
    """``x`` ``(B, F, T)`` >= 0 brought to ``basis @ x`` near ``mel`` ``(B, n_mels, T)`` by multiplications (KL
    divergence; Lee & Seung 2001): what one band holds keeps its shape. Bins that no band reaches stay."""
    total = basis.sum(0)[:, None]                                     # (F, 1)
    scale = torch.where(total > 0, 1 / total.clamp(min=1e-12), 1)
    for _ in range(iterations):
        x = x * torch.where(total > 0, scale * (basis.T @ (mel / (basis @ x).clamp(min=1e-12))), 1)
    return x

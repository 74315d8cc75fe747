"""Copy-synthesis: recordings, or the built-in notes, to log-mel and back, one row a vocoder; and codecs trained here.

    python scripts/bench/vocoders.py --data RECORDINGS [--match '.*_[0-4]'] [--n 100] [--codec RUN ...] [--mel NAME]
    python scripts/bench/vocoders.py --n 60

    PESQ       ITU-T P.862, narrow band at 8 kHz; wide band at 16 kHz where the recordings have that
    LSD        mean over frames of sqrt(mean over bins (20 log10 |X| / |Y|)^2), dB, levels at least -80 dB of the peak
    mel L1     mean |log-mel - log-mel of the copy|, nats, over the frames of the clip; of log-mels alone
    RTF        seconds of computing for a second of sound, decoding alone, clips one by one
    pitch      of notes: median and 95th percentile of |error| in cents
"""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torchaudio.functional as AF
from pesq import PesqError, pesq
from torch import Tensor
from tqdm import tqdm

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.coders import VocoderCoder
from mmdiff.adapters.audio.decode import decode
from mmdiff.adapters.audio.hifigan import HiFiGAN
from mmdiff.adapters.audio.io import SUFFIXES, AudioReader
from mmdiff.adapters.audio.measure import cents, pitch
from mmdiff.adapters.audio.mel import MelSpec
from mmdiff.adapters.audio.notes import Notes, frequency
from mmdiff.adapters.audio.vocoder import GriffinLim
from mmdiff.adapters.autoencoder import Autoencoder
from mmdiff.core.types import Masked
from mmdiff.store import load_learner


class PseudoInverse(GriffinLim):
    """Griffin-Lim with the usual mel inversion, for comparison."""

    def invert(self, mel: Tensor) -> Tensor:
        return (torch.linalg.pinv(self.basis) @ mel).clamp(min=0)


ROWS = (
    ("hifigan_22k", HiFiGAN, {}),
    ("hifigan_22k", HiFiGAN, {"weights": "ljspeech"}),
    ("hifigan_22k", GriffinLim, {}),
    ("vocos_24k", GriffinLim, {}),
    ("speech_8k", GriffinLim, {}),
    ("speech_8k", GriffinLim, {"n_iter": 8}),
    ("speech_8k", GriffinLim, {"n_iter": 16}),
    ("speech_8k", GriffinLim, {"n_iter": 100}),
    ("speech_8k", GriffinLim, {"momentum": 0.0}),
    ("speech_8k", GriffinLim, {"inversion_iter": 10}),
    ("speech_8k", PseudoInverse, {"mel": MelSpec.named("speech_8k")}),
    ("speech_8k_48", GriffinLim, {}),
)


def clips(folder: Path, match: str, n: int) -> Iterator[tuple[Tensor, int, float]]:
    """Mono recordings ``(1, L)`` with rate and NaN for the unknown pitch, ``n`` spread over the sorted names."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and re.fullmatch(match, p.stem))
    if not paths:
        sys.exit(f"no recordings in {folder} whose names match {match!r}")
    for i in range(min(n, len(paths))):
        clip = decode(paths[i * len(paths) // min(n, len(paths))])
        yield torch.from_numpy(clip.samples).mean(0, keepdim=True), clip.sample_rate, float("nan")


def notes(n: int) -> Iterator[tuple[Tensor, int, float]]:
    """Built-in notes ``(1, L)`` with their rate and true frequency in Hz."""
    data = Notes(AudioReader(8000, seconds=1.0), n=n)
    for i in range(n):
        sample, labels = data.read(i)
        yield sample, 8000, frequency(labels["pitch"])


def quality(x: Tensor, y: Tensor, rate: int) -> float:
    """PESQ of a copy, NaN where it finds no speech."""
    target, mode = (16000, "wb") if rate >= 16000 else (8000, "nb")
    x, y = (AF.resample(v, rate, target)[0].numpy() for v in (x, y))
    try:
        return pesq(target, x, y, mode)
    except PesqError:
        return float("nan")


def log_spectral_distance(x: Tensor, y: Tensor) -> float:
    """dB, between two waveforms ``(1, L)``."""
    window = torch.hann_window(512)
    spectra = [AF.spectrogram(v[0], 0, window, 512, 128, 512, 2.0, False) for v in (x, y)]
    least = 1e-8 * spectra[0].max()
    a, b = (10 * s.clamp(min=least).log10() for s in spectra)
    return float((a - b).square().mean(0).sqrt().mean())


@torch.no_grad()
def score(codec: MelCodec | Autoencoder, x: Tensor, rate: int, hz: float) -> dict[str, float]:
    """One clip, of a true pitch or NaN, through a codec."""
    own = codec.modality.sample_rate
    z = codec.encode(Masked(AF.resample(x, rate, own)[None]))
    start = time.perf_counter()
    y = codec.decode(z).x
    seconds = time.perf_counter() - start
    copy = AF.resample(y[0], own, rate)[:, : x.shape[1]]
    spectral = isinstance(codec, MelCodec) or isinstance(codec.coder, VocoderCoder)
    again = codec.unwhiten(codec.encode(Masked(y))).x if spectral else None
    return {
        "PESQ": quality(x, copy, rate),
        "LSD (dB)": log_spectral_distance(x, copy),
        "mel L1": float("nan") if again is None else mel_distance(again, codec.unwhiten(z).x),
        "RTF": seconds / (x.shape[1] / rate),
        "pitch": abs(cents(pitch(copy, rate), hz)) if hz == hz else hz,
    }


def mel_distance(a: Tensor, b: Tensor) -> float:
    """Mean distance of log-mels ``(1, n_mels, T)``, over the frames that both have."""
    frames = min(a.shape[-1], b.shape[-1])
    return float((a[..., :frames] - b[..., :frames]).abs().mean())


def codecs(only: str | None, runs: list[Path]) -> Iterator[tuple[str, str, MelCodec | Autoencoder]]:
    """Name of the mel, of the vocoder, and the codec of each row."""
    for mel, kind, settings in ROWS:
        if only in (None, mel):
            given = (f"{k}={v}" for k, v in settings.items() if k != "mel")
            yield mel, ", ".join([kind.__name__, *given]), MelCodec(mel, kind(**settings))
    for run in runs:
        codec = load_learner(run)[0].codec
        if not isinstance(codec, Autoencoder):
            sys.exit(f"{run} is no run of a learned codec")
        yield type(codec.coder).__name__, run.name, codec.eval()


def cell(name: str, values: list[float]) -> str:
    """One column of a row, over the clips where it is defined."""
    kept = [v for v in values if v == v]
    if not kept:
        return "–"
    if name == "pitch":
        return f"{np.median(kept):.1f}, {np.percentile(kept, 95):.1f}"
    return f"{mean(kept):.3f}" + (f" ± {stdev(kept) / len(kept) ** 0.5:.3f}" if name == "PESQ" else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of recordings; without it, the built-in notes")
    parser.add_argument("--match", default=".*", help="regular expression for file names without their ending")
    parser.add_argument("--n", type=int, default=100, help="how many clips")
    parser.add_argument("--codec", type=Path, nargs="*", default=[], help="runs of learned codecs, a row each")
    parser.add_argument("--mel", help="mel settings whose rows alone are made")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    recordings = list(clips(options.data, options.match, options.n) if options.data else notes(options.n))
    print(f"{len(recordings)} clips, {sum(x.shape[1] / r for x, r, _ in recordings):.0f} s\n")
    for i, (mel, name, codec) in enumerate(codecs(options.mel, options.codec)):
        score(codec, *recordings[0])                                  # warm up
        scores = [score(codec, *clip) for clip in tqdm(recordings, f"{name}, {mel}", leave=False)]
        if i == 0:
            print("| mel | vocoder | " + " | ".join(scores[0]) + " |\n|---|---|" + "---|" * len(scores[0]))
        cells = [cell(key, [s[key] for s in scores]) for key in scores[0]]
        print(f"| {mel} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

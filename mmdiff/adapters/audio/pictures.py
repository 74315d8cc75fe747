"""A contact sheet: waveform above log-mel spectrogram, many samples on one PNG."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ...data.labels import drawn
from .mel import MelSpec


def contact_sheet(
    log_mels: Sequence[Tensor], waveforms: Sequence[Tensor], titles: Sequence[str], path: str | Path, *, mel: MelSpec,
    columns: int = 6,
) -> Path:
    """Write log-mels ``(n_mels, T)`` with their waveforms ``(L,)``, all on one colour and one time scale."""
    if not len(log_mels) == len(waveforms) == len(titles) > 0:
        raise ValueError(f"need as many titles as samples, at least one; got {len(titles)} and {len(waveforms)}")
    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = Figure(figsize=(2.3 * columns, 2.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [1, 3] * rows
    axes = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    top = max(float(m.max()) for m in log_mels)
    longest = max(len(w) for w in waveforms) / mel.sample_rate
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (log_mel, waveform, title) in enumerate(zip(log_mels, waveforms, titles, strict=True)):
        row, column = divmod(i, columns)
        wave, picture = axes[2 * row, column], axes[2 * row + 1, column]
        wave.set_title(drawn(title), fontsize=8)
        wave.plot(np.arange(len(waveform)) / mel.sample_rate, waveform.numpy(), linewidth=0.4, color="0.2")
        wave.set(xlim=(0, longest), ylim=(-1, 1))
        seconds = log_mel.shape[-1] * mel.hop_length / mel.sample_rate
        picture.imshow(
            log_mel.numpy(), origin="lower", aspect="auto", cmap="magma", vmin=mel.log_floor, vmax=top,
            extent=(0, seconds, 0, mel.n_mels),
        )
        picture.set_xlim(0, longest)
    warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)       # a box stands for it in the title
    figure.savefig(path, dpi=110, format="png")
    return Path(path)

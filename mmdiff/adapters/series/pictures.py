"""A picture of series: each a panel, its channels as lines over the position."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ...data.labels import drawn


def line_sheet(
    samples: Sequence[Tensor], titles: Sequence[str], path: str | Path, *, rate: float = 1.0, columns: int = 2
) -> Path:
    """Write series ``(C, T)``, ``rate`` positions a unit of the axis (Hz, for seconds), as one PNG."""
    if not len(samples) == len(titles) > 0:
        raise ValueError(f"need as many titles as series, at least one; got {len(titles)} and {len(samples)}")
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(5 * columns, 1.6 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for i, (sample, title) in enumerate(zip(samples, titles, strict=True), 1):
        axis = figure.add_subplot(rows, columns, i)
        axis.plot([k / rate for k in range(sample.shape[-1])], sample.float().cpu().T.numpy(), linewidth=0.8)
        axis.set_title(drawn(title), fontsize=8, loc="left", pad=3)
        axis.tick_params(labelsize=6)
    figure.savefig(path, format="png")
    return Path(path)

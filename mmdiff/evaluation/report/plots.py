"""Plots of reports, as PNG: every metric of every row with its interval, and quality against network calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...data.labels import drawn
from ...metrics.bootstrap import Interval
from ...metrics.rows import Row

WIDTH = 4
"""Panels side by side."""
COLOURS = {"real": "#2a7f62", "codec": "#6b8fb3", "model": "#c8452d"}


def intervals(rows: Mapping[str, Row], path: Path) -> Path:
    """A panel a metric, a line a row, named at the left; real samples green, the model red, controls grey."""
    metrics = list(dict.fromkeys(name for row in rows.values() for name, v in row.items() if isinstance(v, Interval)))
    height = -(-len(metrics) // WIDTH)
    figure, axes = _panels(height, WIDTH, (4 * WIDTH, 0.22 * height * (len(rows) + 4)), rows_alike=True)
    names = list(rows)[::-1]
    axes[0, 0].set_yticks(range(len(names)), [drawn(name.removeprefix("control: ")) for name in names])
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for y, name in enumerate(names):
            value = rows[name].get(metric)
            if isinstance(value, Interval):
                colour = COLOURS.get(name.split(",")[0], "#999999")
                axis.plot([value.low, value.high], [y, y], color=colour, linewidth=2.5, alpha=0.5)
                axis.plot([value.value], [y], "o", color=colour, markersize=4)
        axis.set_title(drawn(metric), fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    return _saved(figure, path)


def confusions(tables: Mapping[str, Mapping], path: Path) -> Path:
    """Asked for (down) against judged as (across), counts."""
    figure, axes = _panels(1, len(tables), (4.5 * len(tables), 4))
    for axis, (name, table) in zip(axes.flat, tables.items(), strict=True):
        axis.imshow(table["counts"], cmap="Greys")
        ticks = range(len(table["classes"]))
        classes = list(map(drawn, table["classes"]))
        axis.set_xticks(ticks, classes, rotation=90, fontsize=7)
        axis.set_yticks(ticks, classes, fontsize=7)
        axis.set(title=drawn(name), xlabel="judged as", ylabel="asked for")
    return _saved(figure, path)


def curves(
    measured: Sequence[tuple[Mapping[str, str], float, Row]], floor: Row, metrics: Sequence[str], path: Path
) -> Path:
    """A panel a metric against network calls, a line for each setting besides the number of steps; the floor dashed."""
    across = min(3, len(metrics))
    down = -(-len(metrics) // across)
    figure, axes = _panels(down, across, (4.2 * across, 3.2 * down))
    lines: dict[str, list[tuple[float, Row]]] = {}
    for choice, calls, row in measured:
        name = " ".join(v for k, v in choice.items() if k != "sampler.steps") or "model"
        lines.setdefault(name, []).append((calls, row))
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for name, line in lines.items():
            pairs = [(calls, value) for calls, row in line if isinstance(value := row.get(metric), Interval)]
            pairs.sort(key=lambda pair: pair[0])
            x, y = [calls for calls, _ in pairs], [v.value for _, v in pairs]
            spread = [[v.value - v.low for _, v in pairs], [v.high - v.value for _, v in pairs]]
            axis.errorbar(x, y, spread, fmt="o-", markersize=4, linewidth=1.5, elinewidth=0.7, capsize=2,
                          label=drawn(name))
        if isinstance(real := floor.get(metric), Interval):
            axis.axhline(real.value, color=COLOURS["real"], linestyle="--", label="real")
        axis.set(xscale="log", xlabel="network calls", title=drawn(metric))
        axis.title.set_fontsize(10)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    axes.flat[0].legend(fontsize=8)
    return _saved(figure, path)


def _panels(
    down: int, across: int, size: tuple[float, float], *, rows_alike: bool = False
) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)                                           # the backend of pyplot is the caller's to choose
    return figure, figure.subplots(down, across, sharey=rows_alike, squeeze=False)


def _saved(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path

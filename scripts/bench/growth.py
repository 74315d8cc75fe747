"""How the cost of a training sample grows with its length and with the width of the network, as exponents.

    python scripts/bench/growth.py [presets ...]

Operations and bytes of activations are counted, not timed (see ``mmdiff plan plan.device=``), and nothing is allocated.
An exponent is the slope of a line through the logarithms: 1 where twice the length costs twice as much.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from mmdiff.config.overrides import composed
from mmdiff.metrics.rows import markdown
from mmdiff.training.elsewhere import Estimate, estimate

DATA = {"audio": "notes", "points": "solids", "video": "shapes"}
LENGTHS: Mapping[str, Sequence[Mapping[str, float]]] = {
    "audio": [{"seconds": s} for s in (1, 2, 4, 8, 16)],
    "points": [{"points": n} for n in (512, 1024, 2048, 4096, 8192)],
    "video": [{"frames": n} for n in (8, 16, 32, 64, 128)],
}
PRESETS = ("audio_small", "points_small", "video_small", "audio_base", "points_base", "video_base")
WIDTHS = (0.5, 1, 2)


def found(preset: str, size: Mapping[str, float], width: float = 1) -> Estimate:
    """What a preset takes at a size, its network so many times as wide."""
    words = [f"adapter={preset}", f"data={DATA[preset.partition('_')[0]]}", "data.n=3", "trainer=cpu"]
    config = composed("train", words)
    reader = config.adapter.reader
    name = "base" if "base" in config.adapter.network else "dim"
    words.append(f"adapter.network.{name}={int(config.adapter.network[name] * width)}")
    own = {name: reader[name] for name in ("height", "width") if name in reader}
    return estimate(composed("train", words), {**own, **size})


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of log y over log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main() -> None:
    """Print a table, a row for each preset."""
    rows = []
    for preset in sys.argv[1:] or PRESETS:
        sizes = LENGTHS[preset.partition("_")[0]]
        lengths, longer = [next(iter(size.values())) for size in sizes], [found(preset, size) for size in sizes]
        wider = [found(preset, sizes[1], width) for width in WIDTHS]
        rows.append({
            "preset": preset, "length": f"{lengths[0]:g} to {lengths[-1]:g} {next(iter(sizes[0]))}",
            "operations ~ length": f"{exponent(lengths, [e.flop for e in longer]):.2f}",
            "last doubling": f"{exponent(lengths[-2:], [e.flop for e in longer[-2:]]):.2f}",
            "activations ~ length": f"{exponent(lengths, [e.activations for e in longer]):.2f}",
            "operations ~ width": f"{exponent(WIDTHS, [e.flop for e in wider]):.2f}",
            "parameters ~ width": f"{exponent(WIDTHS, [e.parameters for e in wider]):.2f}",
        })
        print(markdown(rows[-1:]), flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()

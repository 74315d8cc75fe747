"""What changes of public models take to learn on cards of 24 and 80 GB, as `docs/real_models.md` has it: no weights.

    python -m scripts.bench.public [wan_1_3b stable_audio_open ...]
"""

import sys

from mmdiff.config.build import build
from mmdiff.config.options import chosen
from mmdiff.config.overrides import composed
from mmdiff.metrics.rows import markdown
from mmdiff.training.elsewhere import GB, Device, costs, estimate
from mmdiff.training.published import unpacked

RUNS = {
    "wan_1_3b": ["adapter=wan", "lora=32"], "wan_14b": ["adapter=wan", "lora=32"],
    "stable_audio_open": ["adapter=stable_audio", "lora=16"],
}
SIZES = {"wan_1_3b": ({"frames": 17}, {"frames": 81}), "wan_14b": ({"frames": 81},), "stable_audio_open": ({},)}
CARDS = ("rtx4090", "h100")
UTILISATION = 0.4


def rows(name: str) -> list[dict]:
    """A row for each size of a sample, and for activations that are kept or computed again."""
    made = []
    with unpacked(name) as folder:
        for size in SIZES[name]:
            words = [f"adapter.reader.{key}={value}" for key, value in size.items()]
            config = composed("train", [*RUNS[name], f"adapter.model={folder}", "loader.batch_size=1", *words])
            found = estimate(config)
            shown = " x ".join(str(config.adapter.reader[key]) for key in ("frames", "height", "width", "seconds")
                               if key in config.adapter.reader)
            for recompute in (0, 1):
                config.recompute = recompute
                sample = found.recomputed if recompute else found.activations
                row = {"model": name, "sample": shown, "recompute": recompute,
                       "learned, M": f"{found.learned / 4e6:.1f}",
                       "weights, GB": f"{found.weights / GB:.2f}", "fixed, GB": f"{found.fixed / GB:.2f}",
                       "a sample, GB": f"{sample / GB:.2f}"}
                for card in CARDS:
                    device = build(chosen("accelerator", card), Device)
                    cost = costs(found, config, device, devices=1, trainer="ddp", utilisation=UTILISATION)
                    row[f"batch, {device.memory_gb:g} GB"] = cost.largest_recomputed if recompute else cost.largest
                    row[f"s a sample, {device.name}"] = f"{cost.seconds:.3g}"
                made.append(row)
    return made


def main() -> None:
    """Print a table."""
    print(markdown([row for name in sys.argv[1:] or RUNS for row in rows(name)]))


if __name__ == "__main__":
    main()

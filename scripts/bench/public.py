"""What changes of public models take to learn on cards of 24 and 80 GB, as `docs/real_models.md` has it, and what to
change where a batch of 8 does not fit: no weights.

    python -m scripts.bench.public [wan_1_3b stable_audio_open ...]
"""

import sys
from typing import Any

from mmdiff.config.build import build
from mmdiff.config.options import chosen
from mmdiff.config.overrides import composed
from mmdiff.metrics.rows import markdown
from mmdiff.training.advice import advice
from mmdiff.training.elsewhere import GB, Device, costs, estimate
from mmdiff.training.published import unpacked

RUNS = {
    "wan_1_3b": ["adapter=wan", "lora=32"], "stable_audio_open": ["adapter=stable_audio", "lora=16"],
    "wan_14b": ["adapter=wan", "lora=32"], "wan_ti2v_5b": ["adapter=wan_ti2v", "lora=32"],
    "ltx_video_2b": ["adapter=ltx", "lora=32"], "cogvideox_2b": ["adapter=cogvideox", "lora=32"],
    "ace_step_1_5": ["adapter=ace_step", "lora=16"],
}
SIZES = {"wan_1_3b": ({"frames": 17}, {"frames": 81})}
SHOWN = ("wan_1_3b", "stable_audio_open")
BATCH = 8
"""Samples of a step for which it is said what to change."""
CARDS = ("rtx4090", "h100")
UTILISATION = 0.4


def rows(name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each size of a sample, and for activations that are kept or computed again; and what to change."""
    made, told = [], []
    with unpacked(name) as folder:
        for size in SIZES.get(name, ({},)):
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
            config.recompute, config.loader.batch_size = 0, BATCH
            for card in CARDS:
                device = build(chosen("accelerator", card), Device)
                lines = advice(found, config, device, devices=1, trainer="ddp", utilisation=UTILISATION)
                told += [f"{name}, {shown}, batch {BATCH} on {device.name}:", *(lines or ["it fits"])]
    return made, told


def main() -> None:
    """Print a table, and lines of advice."""
    found = [rows(name) for name in sys.argv[1:] or SHOWN]
    print(markdown([row for made, _ in found for row in made]))
    print(*(line for _, told in found for line in told), sep="\n")


if __name__ == "__main__":
    main()

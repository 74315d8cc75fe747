"""What the small and base presets take on a device that need not be here, as `docs/scaling.md` has it.

    python scripts/bench/devices.py [h100] [presets ...]
"""

import sys

from mmdiff.config.build import build
from mmdiff.config.options import chosen
from mmdiff.config.overrides import composed
from mmdiff.metrics.rows import markdown
from mmdiff.training.elsewhere import Device, costs, estimate

PRESETS = ("audio_small", "audio_base", "points_small", "points_base", "video_small", "video_base")
DATA = {"audio": "notes", "points": "solids", "video": "shapes"}
UTILISATION = 0.4


def main() -> None:
    """Print a table, a row for each preset."""
    name, *presets = sys.argv[1:] or ["h100"]
    device, rows = build(chosen("accelerator", name), Device), []
    for preset in presets or PRESETS:
        config = composed("train", [
            f"adapter={preset}", f"data={DATA[preset.partition('_')[0]]}", "data.n=3", "trainer=cpu",
            "+trainer.precision=bf16-mixed",
        ])
        reader = config.adapter.reader                                # films of shapes are small whatever is asked for
        size = {name: reader[name] for name in ("frames", "height", "width") if name in reader}
        found = estimate(config, size)
        made = costs(found, config, device, devices=1, trainer="ddp", utilisation=UTILISATION)
        rows.append({
            "preset": preset, "parameters, M": f"{found.parameters / 1e6:.1f}",
            "GFLOP a sample": f"{found.flop / 1e9:.4g}", "fixed, GB": f"{found.fixed / 1e9:.2f}",
            "activations, MB a sample": f"{found.activations / 1e6:.1f}",
            "recomputed, MB": f"{(found.recomputed or 0) / 1e6:.1f}", "largest batch": made.largest,
            "recomputed": made.largest_recomputed,
            "samples/s": f"{device.tflops_16 * 1e12 * UTILISATION / found.flop:.0f}",
        })
        print(markdown(rows[-1:]), flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()

"""Engines x networks x batches: seconds of a network call, and how far the output is from PyTorch's in float32
(the norm of the difference over that of the output).

    nice -n 15 python scripts/bench/engines.py [engine=eager,onnx,openvino] [precision=fp32,bf16,int8] [threads=1]

Networks are those of the demo recipes, and of `video/shapes`, at their own sizes, with weights as training leaves them
but for the learning. All of a network are timed in turns, in one process: on a CPU the time of all threads, whatever
else the machine does. A time is the median of 15, and `x` is that of eager fp32 over it.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import mmdiff
from mmdiff.metrics.rows import markdown
from mmdiff.store import save_model
from mmdiff.testing import Trial

RECIPES = {
    "sound U-Net": ("audio", ["experiment=audio/demo"]), "video U-ViT": ("video", ["experiment=video/demo"]),
    "video DiT": ("video", ["experiment=video/shapes"]), "points DiT": ("points", ["experiment=points/demo"]),
}
TRIES = 15


def main() -> None:
    """Print a table, a row for each engine and precision that works here."""
    told = dict(word.split("=") for word in sys.argv[1:])
    torch.set_num_threads(int(told.get("threads", 1)))
    engines = told.get("engine", "eager,onnx,openvino").split(",")
    precisions = told.get("precision", "fp32,bf16,int8").split(",")
    rows = []
    for name, (adapter, words) in RECIPES.items():
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(adapter, [*words, "data.n=8", "loader.limit=8"], Path(folder))
            save_model(trial.awake, trial.stored, file := Path(folder) / "model.safetensors", step=0)
            rows += (own := measured(name, file, engines, precisions))
            print(markdown(own), flush=True)
    print(markdown(rows))


def measured(name: str, file: Path, engines: list[str], precisions: list[str]) -> list[dict[str, object]]:
    """The rows of one network."""
    networks, left_out = {}, []
    for engine in engines:
        for precision in precisions:
            try:
                networks[engine, precision] = mmdiff.load(file, engine=engine, precision=precision).model
            except ValueError as error:
                left_out.append(f"{name}: {error}")
    print(*left_out, sep="\n", file=sys.stderr)
    plain, rows = mmdiff.load(file), {key: {"network": name, "engine": key[0], "precision": key[1]} for key in networks}
    shape = plain.model.codec.latent_shape(**plain.size)
    for batch in (1, 8):
        torch.manual_seed(0)
        clock = time.perf_counter if plain.model.device.type == "cuda" else time.process_time
        device, cond = plain.model.device, plain.model.condition([{}] * batch)
        x, level = torch.randn(batch, plain.model.codec.channels, *shape).to(device), torch.rand(batch).to(device)
        with torch.no_grad():
            exact, spent = plain.model.network(x, level, cond), {key: [] for key in networks}
            for key, model in networks.items():
                error = (model.network(x, level, cond) - exact).norm() / exact.norm()
                rows[key][f"difference, {batch}"] = f"{error:.0e}"
            for _ in range(TRIES):
                for key, model in networks.items():
                    begun = clock()
                    model.network(x, level, cond)
                    if device.type == "cuda":
                        torch.cuda.synchronize()
                    spent[key].append(clock() - begun)
        base = statistics.median(spent["eager", "fp32"])
        for key in networks:
            own = statistics.median(spent[key])
            rows[key] |= {f"ms, {batch}": f"{1000 * own:.1f}", f"x, {batch}": f"{base / own:.2f}"}
    return list(rows.values())


if __name__ == "__main__":
    main()

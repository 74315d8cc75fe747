"""Quality against network calls: the model's own sampler at several numbers of calls, and DDPM as the reference.

    python scripts/bench/calls.py RUN [--calls 2 4 8 16 32 50 100] [--ddpm 1000] [--n 100] [--guidance 2] [--plot PNG]

Samples that were made before are kept, and so is the embedder: RUN/eval holds both. A model that learned from
points paired with their noise has no DDPM.
"""

import argparse
import shutil
from pathlib import Path

import torch
from omegaconf import OmegaConf

from mmdiff.config.adapter import build_codec
from mmdiff.config.build import build
from mmdiff.config.files import CONFIG_FILE, load_yaml
from mmdiff.config.overrides import composed
from mmdiff.evaluation.bench import Evaluator
from mmdiff.evaluation.evaluated import open_run
from mmdiff.evaluation.protocol import Protocol
from mmdiff.evaluation.report.sweep import write_sweep
from mmdiff.generation.pipeline import Pipeline, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--calls", type=int, nargs="+", default=[2, 4, 8, 16, 32, 50, 100])
    parser.add_argument("--ddpm", type=int, nargs="*", default=[1000], help="time steps of DDPM; none = leave it out")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--guidance", type=float, help="scale; the run's own unless told")
    parser.add_argument("--references", type=int, default=300)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--plot", type=Path, help="where the plot is copied to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kind = build_codec(load_yaml(args.run / CONFIG_FILE).adapter)[0].judge().name
    config = composed("eval", [
        f"run={args.run}", f"evaluation={kind}_v1", f"evaluation.n={args.n}",
        f"evaluation.references={args.references}", f"evaluation.draws={args.draws}",
    ])
    stored, out = load(args.run), args.run / "eval"
    bench = Evaluator(open_run(args.run, stored), build(config.evaluation, Protocol), out)
    ddpm = OmegaConf.to_container(composed("sample", ["run=x", "sampler=ddpm"]).sampler)
    wanted = [("auto", {**stored.settings["sampler"], "steps": steps}) for steps in args.calls]
    coupling = stored.model.coupling
    if coupling is None or coupling.kind == "independent":            # others may not be sampled with added noise
        wanted += [("ddpm", {**ddpm, "steps": steps}) for steps in args.ddpm]
    guidance = stored.settings["guidance"]
    if args.guidance is not None:
        guidance = {**guidance, "scale": args.guidance}
    swept = []
    for name, sampler in wanted:
        pipeline = Pipeline(stored.model, stored.header, sampler=sampler, guidance=guidance)
        choice = {"sampler": name, "sampler.steps": str(sampler["steps"])}
        swept.append((choice, bench.report(pipeline, controls=False)))
        print(write_sweep(swept, out).splitlines()[-2], flush=True)
    print((out / "sweep.md").read_text(encoding="utf-8"))
    if args.plot:
        shutil.copy(out / "sweep.png", args.plot)


if __name__ == "__main__":
    main()

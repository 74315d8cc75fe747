"""What the early end of an embedder's training saves, and whether a verdict hangs on it.

    python scripts/bench/embedder.py RUN [--n 100]

Trains the embedder of a run's data as mmdiff eval does, and once more to the last of its steps, and judges the same
samples of the model and the same real ones with both: which metrics tell the model from real samples, and how much they
differ. CPU seconds are those of training alone.
"""

import argparse
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from mmdiff.config.build import build
from mmdiff.config.overrides import composed
from mmdiff.evaluation.bench import Evaluator
from mmdiff.evaluation.embedders import fitting
from mmdiff.evaluation.evaluated import open_run
from mmdiff.evaluation.protocol import Protocol
from mmdiff.evaluation.report.findings import sensitivity
from mmdiff.generation.pipeline import load
from mmdiff.metrics.rows import markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=100)
    args = parser.parse_args()
    pipeline = load(args.run)
    subject, judge = open_run(args.run, pipeline), pipeline.model.codec.judge()
    words = [f"run={args.run}", f"evaluation={judge.name}_v1", f"evaluation.n={args.n}"]
    protocol = build(composed("eval", words).evaluation, Protocol)
    table, verdicts = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, gain in (("ends when flat", fitting.GAIN), ("all steps", float("-inf"))):
            out = Path(folder) / name.replace(" ", "-")
            (out).mkdir()
            (out / "samples").symlink_to(Path(folder) / "samples")
            (Path(folder) / "samples").mkdir(exist_ok=True)
            with patch.object(fitting, "GAIN", gain), patch.dict("os.environ", {"MMDIFF_CACHE": str(out / "cache")}):
                begun = time.process_time()
                bench = Evaluator(subject, protocol, out)
                spent = time.process_time() - begun
            rows = bench.report(pipeline, controls=False)["rows"]
            verdicts[name] = {metric: told["model"] for metric, told in sensitivity(rows, "real").items() if told}
            facts = bench.embedder.facts
            table.append({"embedder": name, "steps": facts["steps"], "CPU s": spent,
                          **{f"held out: {field}": value for field, value in facts["held out"].items()},
                          **{metric: rows["model"][metric] for metric in verdicts[name]}})
    first, second = verdicts.values()
    columns = list(dict.fromkeys(name for row in table for name in row if name != "embedder"))
    print(markdown([{"": c, **{row["embedder"]: row[c] for row in table if c in row}} for c in columns]))
    other = [metric for metric in first if first[metric] != second.get(metric)]
    print(f"{len(first)} metrics, {sum(first.values())} tell the model from real samples; other verdicts "
          f"with all steps: {', '.join(other) or 'none'}")


if __name__ == "__main__":
    main()

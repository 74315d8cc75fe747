"""A public model from a folder to signed films, on a tiny instance of its real classes, each command a process.

    python -m scripts.bench.complete [out=FOLDER]        # about two minutes on two cores; prints what each command took

plan, encode, train a LoRA, killed on the way and gone on with, sample, eval against the base, export, sign, check.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mmdiff.adapters.video.write import write_video
from tests import tiny

SIZE = ["adapter.reader.frames=5", "adapter.reader.height=32", "adapter.reader.width=32"]
COLOURS, DIRECTIONS = ("red", "blue"), ("left", "fast", "slowly")


def main() -> None:
    """Run it all; any command that fails ends it."""
    told = dict(word.split("=", 1) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as place:
        root = Path(told.get("out", place)).absolute()
        root.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        model, clips = tiny.wan(root / "wan"), made_clips(root / "clips")
        print(f"a model and {len(list(clips.glob('*.mkv')))} clips: {time.perf_counter() - begun:.0f} s", flush=True)
        everything(root, ["adapter=wan", f"adapter.model={model}", *SIZE], clips)
        print(f"all of it: {time.perf_counter() - begun:.0f} s")


def everything(root: Path, adapter: list[str], clips: Path) -> None:
    """Every command of the walk, in ``root``."""
    run, data = root / "style", [f"data.root={clips}", "data.captions=true"]
    loop = ["lora=4", "loader.batch_size=8", "loader.val=0.35", "trainer=cpu", "trainer.max_steps=20", "optim.lr=0.01",
            "checkpoint.every=5", "validation.every=0", "preview.n=0", "recompute=1", "logger=csv"]
    latents = ["data=latents", f"data.root={root / 'latents'}"]
    mmdiff("adopt", adapter[1].partition("=")[2], f"out={root / 'wan.safetensors'}", *SIZE)
    mmdiff("plan", *adapter, "lora=4", "plan.device=24GB")
    mmdiff("encode", *adapter, *data, f"out={root / 'latents'}")
    killed(run, "train", *adapter, *latents, *loop, f"run={run}")
    mmdiff("train", f"run={run}")
    mmdiff("sample", str(run), "cond.caption=a red disc", "n=2", "sampler.steps=4", f"out={root / 'films'}")
    mmdiff("embedder", str(run), f"out={root / 'judge.safetensors'}", "steps=20")
    mmdiff("eval", str(run), f"against={root / 'wan.safetensors'}", f"evaluation.embedder={root / 'judge.safetensors'}",
           "evaluation.n=12", "evaluation.draws=8", "sampler.steps=2")
    mmdiff("export", str(run), "as=diffusers", f"out={root / 'lora'}")
    mmdiff("certificate", "new", f"out={root / 'keys'}")
    keys = [f"provenance.{name}={root / 'keys' / name}.pem" for name in ("certificate", "key")]
    mmdiff("sample", str(run), "cond.caption=a blue square", "n=1", "sampler.steps=4", "provenance=c2pa", *keys,
           f"out={root / 'signed'}")
    (film,) = (path for path in (root / "signed").iterdir() if path.name.startswith("0000") and path.suffix == ".mp4")
    mmdiff("check", str(film), f"trust={root / 'keys' / 'root.pem'}")


def mmdiff(*words: str) -> None:
    """Run a command to its end, and print what it took."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "mmdiff", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"mmdiff {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "")
    print(f"{words[0]}: {time.perf_counter() - begun:.0f} s: {last:.150}", flush=True)


def killed(run: Path, *words: str) -> None:
    """Begin a run, and kill it once it has saved itself."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mmdiff", *words], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    while not list((run / "checkpoints").glob("step-*")):
        if process.poll() is not None:
            raise SystemExit(f"it ended before it was killed: {process.communicate()[0][-2000:]}")
        time.sleep(0.05)
    process.kill()
    process.wait()
    print(f"{words[0]}, killed: {time.perf_counter() - begun:.0f} s", flush=True)


def made_clips(root: Path) -> Path:
    """Films of a disc that moves, each with a caption beside it."""
    root.mkdir()
    for i in range(40):
        colour, direction = COLOURS[i % 2], DIRECTIONS[i % 3]
        clip = torch.full((3, 5, 32, 32), -0.6)
        for frame in range(5):
            clip[2 * (i % 2), frame, 8 + i % 12 : 16 + i % 12, 2 + frame * (1 + i % 3) : 10 + frame * (1 + i % 3)] = 0.8
        write_video(clip, root / f"{i:02}.mkv", 16)
        (root / f"{i:02}.txt").write_text(f"a {colour} disc moves to the {direction}", encoding="utf-8")
    return root


if __name__ == "__main__":
    main()

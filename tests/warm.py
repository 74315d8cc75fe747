"""``python -m mmdiff`` in a process of its own that need not import anything: a server that has done so forks for each.

The process is new for every command, with the environment and the folder of the test; only the imports, some five CPU
seconds, are shared. What is of signals, or of how a process starts, uses ``tests.conftest.command`` instead.
"""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

import torch

MODALITIES = ("audio.codec", "audio.notes", "video.codec", "video.shapes", "points.codec", "points.solids")
IMPORTS = [
    "hydra", "torchaudio", "soundfile", "av", "mmdiff.training.train", "mmdiff.generation.pipeline",
    "mmdiff.evaluation.bench", "mmdiff.cli.train", "mmdiff.cli.sample", "mmdiff.cli.eval", "mmdiff.core.guidance",
    *(f"mmdiff.adapters.{part}" for part in MODALITIES),
    *(f"mmdiff.nn.{part}" for part in ("unet1d", "dit1d", "point_dit", "video_dit")),
    "torch.distributed.checkpoint", "torch.distributed.fsdp", "tests.training.launch", "tests.warmed",
]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(IMPORTS)
"""One for all tests of a worker; ``tests.training.launch`` starts processes of it too."""


def run(arguments: list[str], output: Path, *, env: dict[str, str], cwd: Path, seconds: float) -> int:
    """Run ``mmdiff`` with what it prints in the file ``output`` -> exit code."""
    process = SERVER.Process(target=_main, args=(arguments, str(output), env, str(cwd)))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"mmdiff {' '.join(arguments)} took more than {seconds} s: {output.read_text()}")
    return process.exitcode


def _main(arguments: list[str], output: str, env: dict[str, str], cwd: str) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = env.get("PYTHONPATH", "").split(os.pathsep) if env.get("PYTHONPATH") else []
    multiprocessing.set_start_method(None, force=True)                # as it is in a program
    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))                # torch read it when it was imported
    sys.argv = ["mmdiff", *arguments]
    runpy.run_module("mmdiff", run_name="__main__", alter_sys=True)

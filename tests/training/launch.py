"""Commands in processes of their own, quick to start: each is forked from a server that has everything imported.

Several processes of one command are told their ranks as torchrun would tell them. ``fault`` is called in each process
before the command, to break something there.
"""

import itertools
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from tests.warm import SERVER

NUMBERS = itertools.count()


class Job:
    """``mmdiff`` with ``arguments`` in ``world`` processes; a process that dies takes the others with it."""

    def __init__(
        self, *arguments: str, output: Path, world: int = 1, fault: Callable | None = None,
        environment: dict[str, str] | None = None,
    ):
        words, port = [str(a) for a in arguments], free_port()
        told = [{**told_by_torchrun(rank, world, port), **(environment or {})} for rank in range(world)]
        self.output = output / f"output-{next(NUMBERS)}.txt"
        self.processes = [SERVER.Process(target=_main, args=(self.output, own, words, fault)) for own in told]
        for process in self.processes:
            process.start()

    def wait(self, code: int | None = 0, seconds: float = 300) -> str:
        """What was printed, once all have ended; checks the exit codes (negative = a signal)."""
        deadline = time.time() + seconds
        while any(p.is_alive() for p in self.processes) and time.time() < deadline:
            if any(p.exitcode not in (None, 0) for p in self.processes):
                time.sleep(1 if code and code > 0 else 0)
                self.kill()
            time.sleep(0.01)
        self.kill()
        codes = [p.exitcode for p in self.processes]
        text = self.output.read_text()
        assert code is None or (code in codes and (code or not any(codes))), (codes, text[-4000:])
        return text

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Wait while the processes work."""
        deadline = time.time() + seconds
        while not condition():
            assert time.time() < deadline and all(p.is_alive() for p in self.processes), self.output.read_text()[-4000:]
            time.sleep(0.01)

    def signal(self, number: int, *, rank: int = 0) -> None:
        """Send a signal to one process."""
        os.kill(self.processes[rank].pid, number)

    def kill(self) -> None:
        """SIGKILL for all that still run."""
        for process in self.processes:
            process.kill()
            process.join()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def told_by_torchrun(rank: int, world: int, port: int) -> dict[str, str]:
    """The environment of one process of several; nothing for one alone."""
    return {} if world == 1 else {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }


def _main(output: Path, environment: dict[str, str], words: list[str], fault: Callable | None) -> None:
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)              # of data workers, as in a process of its own
    rank_zero_only.rank = int(environment.get("RANK", 0))             # Lightning looks when it is imported
    if fault is not None:
        fault()
    from mmdiff.cli import main

    main(words)

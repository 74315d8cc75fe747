"""Short trials of a network call, with guidance, on the machine at hand; what they find is kept there.

    seconds of a job = ceil(n / b) x seconds of a call of b samples,     b = 1, 2, 4, 8 ... while it gains and fits

A micro-batch is always full (see ``batches``), so that the quickest for 20 samples may be 4 where it is 16 for 100.
"""

import hashlib
import json
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ..data.cached import cache_folder, keep, one_at_a_time
from ..engines.memory import Peak, free_bytes
from ..model import DiffusionModel

TRIES, LEAST = 3, 0.2
"""How often a call is timed at least, and for how many seconds in all."""
GAIN = 0.97
"""What a larger micro-batch has to take of the time of a smaller one."""
SHARE = 0.5
"""Of what is free of the memory: the batch before is decoded beside."""
POWERS = [2**k for k in range(9)]
"""Micro-batches that are tried."""
Call = Callable[[DiffusionModel, int], Any]
"""One network call, with guidance, of a model and so many samples; gives latents."""


def kept(identity: Sequence[Any], known: Sequence[str], find: Callable[[], str]) -> tuple[str, bool]:
    """What a trial found, one of ``known``, and whether it was found before: on this machine, for what is of the same
    ``identity``."""
    machine = [platform.processor() or platform.machine(), torch.get_num_threads()]
    name = hashlib.sha256(json.dumps([*identity, machine]).encode()).hexdigest()
    path = cache_folder() / "trials" / f"{name}.txt"
    with one_at_a_time(path):
        if path.is_file() and (found := path.read_text(encoding="utf-8")) in known:
            return found, True
        found = find()
        keep(path, lambda file: file.write(found.encode()))
        return found, False


def seconds(act: Callable[[], Any], device: torch.device) -> float:
    """Of a call, after a first one that may compile: the least of some, as what else a machine does only adds to it. Of
    one thread it is the processor's time, of which other work takes none."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    act()
    spent: list[float] = []
    while len(spent) < TRIES or sum(spent) < LEAST:
        begun = clock()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(clock() - begun)
    return min(spent)


def quickest_batch(call: Call, model: DiffusionModel, n: int, *, room: int, own: int) -> int:
    """The micro-batch that makes ``n`` samples in the least time, of at most ``room``; ``own`` is tried besides powers
    of 2. What was found is told, and what cannot be computed: then no larger one is tried."""
    spent: dict[int, float] = {}
    least = math.inf
    for size in sorted({1, *(size for size in (*POWERS, own) if size <= min(n, room))}):
        try:
            spent[size] = seconds(partial(call, model, size), model.device)
        except (RuntimeError, MemoryError) as error:                  # a full memory has no error of its own everywhere
            if not spent:
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            print(f"batch_size=auto: {size} at once cannot be computed here, {max(spent)} can: {reason[:200]}")
            break
        if spent[size] / size > GAIN * least:
            break
        least = spent[size] / size
    job = {size: -(-n // size) * one for size, one in spent.items()}
    found = min(size for size in job if GAIN * job[size] <= min(job.values()))
    costs = ", ".join(f"{one / size:.3g} s in {size}" for size, one in spent.items())
    print(f"batch_size=auto takes {found} for {n} samples; a network call takes each {costs}")
    return found


@torch.no_grad()
def room(call: Call, model: DiffusionModel, size: Mapping[str, float]) -> int:
    """How many samples of a ``size`` may be denoised and decoded at once in the memory that is free; at least one."""
    def taken(count: int) -> int:
        with Peak(model) as peak:
            model.finished(call(model, count), **size)
        return peak.most

    one, two = taken(1), taken(2)
    return max(1, 1 + int(SHARE * free_bytes(model.device) - one) // max(1, two - one))

"""The process that a run takes place in: kept quiet and its memory, left as it was found, put back into the queue of a
cluster."""

import ctypes
import logging
import os
import random
import signal
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from .saving import SIGNALS

TRIM, MAP = -1, -3
"""Names of glibc's ``mallopt``: how much is free at the top of the heap before it is handed back, and from which size
on an allocation has pages of its own."""
LARGE = 2**25
"""Bytes: the most that glibc takes for the second."""


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's remarks left out, while a run goes on: the run says itself what matters."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def saved_state() -> Iterator[None]:
    """Leaves the process as it was, however a run ends: handlers of signals, Python's, NumPy's and torch's generators,
    the precision of products, and the environment."""
    before, handlers = dict(os.environ), {number: signal.getsignal(number) for number in SIGNALS}
    python, numpy, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    products = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(tensors)
        torch.set_float32_matmul_precision(products)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def memory_kept() -> Iterator[None]:
    """What a step frees is kept for the next one. Else the C library hands it back to the system when a step ends, and
    each page is cleared anew when the next begins, which takes up to a tenth of a step on a CPU."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):                               # not glibc
        yield
        return
    library.mallopt(MAP, LARGE)
    library.mallopt(TRIM, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(TRIM, 2 * LARGE)                              # what glibc comes to by itself, at most
        library.malloc_trim(0)


def requeue() -> None:
    """Put the SLURM job that this is back into the queue; it will continue the run. Nothing where there is no job."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if job is not None:
        name = job if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        subprocess.run(["scontrol", "requeue", name], check=True)

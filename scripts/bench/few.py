"""How near a student of few calls comes to its teacher, in latents: no embedder, no data.

    python scripts/bench/few.py TEACHER STUDENT [--n 64] [--guidance 2] [--calls 1 2 4 8 20]

    error      root mean square difference from where the teacher's path of the same noise ends (50 calls), over the
               standard deviation of those ends; two samples that share labels alone differ by about 1.4
    coverage   share of other samples of the teacher that have one of these near (Naeem et al. 2020, k = 5)
    spread     standard deviation over samples of one request, over that of the teacher's
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mmdiff.core.guidance import ClassifierFree, Distilled, Guidance
from mmdiff.core.samplers import Auto, Jump, Sampler
from mmdiff.data.labels import Label, class_names
from mmdiff.metrics.coverage import coverage
from mmdiff.model import DiffusionModel
from mmdiff.store import load_model

BATCH = 32


@torch.no_grad()
def latents(
    model: DiffusionModel, size: dict[str, float], seeds: range, sampler: Sampler, guidance: Guidance
) -> Tensor:
    """One latent a seed; labels are those of the seed."""
    shape = model.codec.latent_shape(**size)
    parts = [list(seeds)[k : k + BATCH] for k in range(0, len(seeds), BATCH)]
    make = partial(model.latents, shape=shape, sampler=sampler, guidance=guidance)
    return torch.cat([make([told(model, seed) for seed in part], part) for part in parts])


def told(model: DiffusionModel, seed: int) -> dict[str, Label]:
    """Each class in turn, of all fields."""
    fields = {name: class_names(field) for name, field in model.conditioner.fields.items()}
    return {name: names[seed % len(names)] for name, names in fields.items() if names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("student")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2, 4, 8, 20], help="the student: up to 4")
    args = parser.parse_args()
    torch.set_num_threads(1)
    (teacher, header), (student, _) = load_model(args.teacher), load_model(args.student)
    size, guided = header["config"]["size"], ClassifierFree(args.guidance)
    ends, others, alike = (
        latents(teacher, size, seeds, Auto(calls), guided)
        for seeds, calls in ((range(args.n), 50), (range(args.n, 2 * args.n), 20), (range(args.n), 20))
    )
    print(f"coverage of the teacher's own 20 calls: {coverage(alike.flatten(1), others.flatten(1)).coverage:.2f}")
    print("| | calls | error | coverage | spread | seconds a sample |\n|---|---|---|---|---|---|")
    ways: list[tuple[str, DiffusionModel, Callable[[int], Sampler], Guidance, list[int]]] = [
        ("teacher", teacher, Auto, guided, args.calls),
        ("student", student, Jump, Distilled(args.guidance), [calls for calls in args.calls if calls <= 4]),
    ]
    for name, model, sampler, guidance, every in ways:
        make = partial(latents, model, size, guidance=guidance)
        for calls in every:
            start = time.process_time()
            found = make(range(args.n), sampler=sampler(calls))
            spent = (time.process_time() - start) / args.n
            error = (found - ends).square().mean().sqrt() / ends.std()
            near = coverage(found.flatten(1), others.flatten(1)).coverage
            row = (f"{error:.3f}", f"{near:.2f}", f"{found.std(0).mean() / ends.std(0).mean():.2f}", f"{spent:.3f}")
            print(f"| {name} | {calls} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

"""Solvers of other libraries behind one call: (posterior mean, x1, grid, calls) -> x0, for sampler benchmarks.

A problem is either of Karras's kind (alpha = 1, levels are sigma) or flow matching's (alpha = 1 - sigma). A grid gives
n falling levels that end above 0, and the last network call denoises to 0, as these libraries do at their best. Where
one needs log(alpha) at the start, the first level is 1 - 1e-6 in place of 1. Levels are set directly and not rounded.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[Tensor, float, float], Tensor]
Grid = Callable[[int], list[float]]
Solver = Callable[[Field, Tensor, Grid, int], Tensor]
ALMOST_ONE = 1 - 1e-6


def grids(kind: str) -> dict[str, Grid]:
    """What the libraries offer to choose from."""

    def ramp(high: float, low: float, rho: float) -> Grid:
        def levels(n: int) -> list[float]:
            a, b = high ** (1 / rho), low ** (1 / rho)
            return [(a + i / max(n - 1, 1) * (b - a)) ** rho for i in range(n)]

        return levels

    def shifted(shift: float) -> Grid:
        return lambda n: [shift * (1 - i / n) / (1 + (shift - 1) * (1 - i / n)) for i in range(n)]

    def exponential(high: float, low: float) -> Grid:
        return lambda n: [high * (low / high) ** (i / max(n - 1, 1)) for i in range(n)]

    if kind == "karras":
        named = {f"rho {rho:g}": ramp(80, 0.002, rho) for rho in (5, 7, 10)}
        return {**named, "exponential": exponential(80, 0.002)}
    named = {"uniform" if s == 1 else f"shift {s:g}": shifted(s) for s in (0.5, 1, 1.5, 2, 3)}
    return {**named, "rho 7": ramp(1, 0.001, 7)}


def _start(kind: str, levels: list[float]) -> list[float]:
    return levels if kind == "karras" else [min(v, ALMOST_ONE) for v in levels]


def diffusers(kind: str) -> dict[str, Solver]:
    """Multistep and single-step schedulers, their levels overridden by the grid's."""
    from diffusers import (
        DEISMultistepScheduler,
        DPMSolverMultistepScheduler,
        DPMSolverSinglestepScheduler,
        EulerDiscreteScheduler,
        FlowMatchEulerDiscreteScheduler,
        FlowMatchHeunDiscreteScheduler,
        HeunDiscreteScheduler,
        UniPCMultistepScheduler,
        logging,
    )

    logging.set_verbosity_error()
    flow = kind == "flow"
    common = {"prediction_type": "flow_prediction", "use_flow_sigmas": True} if flow else {"prediction_type": "sample"}

    def solver(cls, *, two_calls: bool = False, spherical: bool = True, **options) -> Solver:
        def run(field: Field, x1: Tensor, grid: Grid, calls: int) -> Tensor:
            levels = _start(kind, grid((calls + 1) // 2 if two_calls else calls))
            n = len(levels)
            scheduler = cls(**options)
            scheduler.set_timesteps(max(n, 2))
            sigmas = [*levels, 0.0]
            if two_calls:
                sigmas = [levels[0], *[v for v in levels[1:] for _ in (0, 1)], 0.0]
                levels = sigmas[:-1][: 2 * n - 1]
            scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
            scheduler.set_begin_index(0)
            scheduler.is_scale_input_called = True
            x = x1 if flow or not spherical else x1 / math.hypot(1, levels[0])
            for i, sigma in enumerate(levels):
                norm = 1.0 if flow or not spherical else math.hypot(1, sigma)
                alpha, noise = (1 - sigma, sigma) if flow else (1 / norm, sigma / norm)
                x0 = field(x, alpha, noise)
                if i == len(levels) - 1:
                    break
                predicts = scheduler.config.get("prediction_type", "flow_prediction")
                eps = (x - alpha * x0) / noise
                output = {"sample": x0, "epsilon": eps, "flow_prediction": eps - x0}[predicts]
                x = scheduler.step(output, scheduler.timesteps[min(i, len(scheduler.timesteps) - 1)], x).prev_sample
            return x0

        return run

    found = {}
    for order in (2, 3):
        for algorithm in ("dpmsolver++", "dpmsolver"):
            options = {**common, "solver_order": order, "algorithm_type": algorithm, "final_sigmas_type": "sigma_min"}
            if algorithm == "dpmsolver":                              # eps-form: it knows no flow_prediction
                options["prediction_type"] = "epsilon"
            found[f"{algorithm} {order}M"] = solver(DPMSolverMultistepScheduler, **options)
            if algorithm == "dpmsolver++" or order == 2:
                found[f"{algorithm} {order}S"] = solver(DPMSolverSinglestepScheduler, **options)
        found[f"UniPC{order} bh2"] = solver(UniPCMultistepScheduler, **common, solver_order=order)
        found[f"UniPC{order} bh1"] = solver(UniPCMultistepScheduler, **common, solver_order=order, solver_type="bh1")
        found[f"DEIS{order}"] = solver(DEISMultistepScheduler, **common, solver_order=order)
    if flow:
        found["FlowMatchEuler"] = solver(FlowMatchEulerDiscreteScheduler)
        found["FlowMatchHeun"] = solver(FlowMatchHeunDiscreteScheduler, two_calls=True)
    else:
        found["Euler"] = solver(EulerDiscreteScheduler, prediction_type="sample", spherical=False)
        found["Heun"] = solver(HeunDiscreteScheduler, prediction_type="sample", spherical=False, two_calls=True)
    return found


def k_diffusion(kind: str) -> dict[str, Solver]:
    """Its samplers take dx/dsigma = (x - x0) / sigma, which is flow matching's ODE too, with sigma = t."""
    from k_diffusion import sampling

    def solver(function, *, two_calls: bool = False, **options) -> Solver:
        def run(field: Field, x1: Tensor, grid: Grid, calls: int) -> Tensor:
            levels = grid((calls + 1) // 2 if two_calls else calls)

            def model(x: Tensor, sigma: Tensor) -> Tensor:
                s = float(sigma[0])
                return field(x, 1.0 if kind == "karras" else 1 - s, s)

            sigmas = torch.tensor([*levels, 0.0], dtype=torch.float64)
            return function(model, x1, sigmas, disable=True, **options)

        return run

    still = {"eta": 0.0, "noise_sampler": lambda *_: 0.0}
    return {
        "euler": solver(sampling.sample_euler),
        "heun": solver(sampling.sample_heun, two_calls=True),
        "dpm_2": solver(sampling.sample_dpm_2, two_calls=True),
        "dpmpp_2s": solver(sampling.sample_dpmpp_2s_ancestral, two_calls=True, **still),
        "dpmpp_2m": solver(sampling.sample_dpmpp_2m),
        "dpmpp_2m heun": solver(sampling.sample_dpmpp_2m_sde, solver_type="heun", **still),
        "dpmpp_3m": solver(sampling.sample_dpmpp_3m_sde, **still),
        **{f"lms{order}": solver(sampling.sample_lms, order=order) for order in (2, 3, 4)},
    }


def azula(kind: str) -> dict[str, Solver]:
    """Its samplers, on a schedule that holds the grid's levels; those that can step to 0 itself do."""
    from azula import sample
    from azula.denoise import DiracPosterior

    def solver(cls, *, to_zero: bool = False, two_calls: bool = False, **options) -> Solver:
        def run(field: Field, x1: Tensor, grid: Grid, calls: int) -> Tensor:
            levels = _start(kind, grid((calls + 1) // 2 if two_calls else calls))
            sigma = torch.tensor([*levels, 0.0] if to_zero else levels, dtype=torch.float64)
            alpha = torch.ones_like(sigma) if kind == "karras" else 1 - sigma
            steps = len(sigma) - 1

            class Exact:
                @staticmethod
                def schedule(t: Tensor) -> tuple[Tensor, Tensor]:
                    i = ((1 - t) * steps).round().long()
                    return alpha[i], sigma[i]

                def __call__(self, x: Tensor, t: Tensor) -> DiracPosterior:
                    a, s = self.schedule(t)
                    return DiracPosterior(mean=field(x, float(a), float(s)))

            x = x1
            if steps:
                x = cls(Exact(), steps=steps, silent=True, dtype=torch.float64, **options)(x1)
            return x if to_zero else field(x, float(alpha[-1]), float(sigma[-1]))

        return run

    found = {"Euler": solver(sample.EulerSampler), "Heun": solver(sample.HeunSampler, two_calls=True)}
    for order in (2, 3):
        for name in ("zEAB", "xEAB", "REAB"):
            found[f"{name}{order}"] = solver(getattr(sample, f"{name}Sampler"), order=order)
        for name in ("zAB", "vAB"):
            found[f"{name}{order}"] = solver(getattr(sample, f"{name}Sampler"), order=order, to_zero=True)
    return found


def flow_matching(kind: str) -> dict[str, Solver]:
    """Meta's ODESolver, for the flow problem only; a method with k stages takes calls // k steps."""
    from flow_matching.solver import ODESolver

    def solver(method: str, stages: int) -> Solver:
        def run(field: Field, x1: Tensor, grid: Grid, calls: int) -> Tensor:
            if calls < stages:
                return torch.full_like(x1, math.nan)

            def velocity(x: Tensor, t: Tensor) -> Tensor:
                sigma = max(1 - float(t), 1e-5)
                return (field(x, 1 - sigma, sigma) - x) / sigma

            times = 1 - torch.tensor([*grid(calls // stages), 0.0], dtype=torch.float64)
            return ODESolver(velocity).sample(x1, step_size=None, method=method, time_grid=times)

        return run

    stages = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
    return {name: solver(name, k) for name, k in stages.items()} if kind == "flow" else {}


LIBRARIES = {"diffusers": diffusers, "k-diffusion": k_diffusion, "azula": azula, "flow_matching": flow_matching}


def installed(kind: str) -> tuple[dict[str, dict[str, Solver]], dict[str, str]]:
    """Solvers of every library that can be imported, and why the others cannot."""
    found, missing = {}, {}
    for name, load in LIBRARIES.items():
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                found[name] = load(kind)
        except ImportError as error:
            missing[name] = f"not installed ({str(error).splitlines()[0][:60]})"
    return found, missing

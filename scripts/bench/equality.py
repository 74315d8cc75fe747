"""Public models here against diffusers' own pipelines: the largest difference of latents from the same noise.

    python -m scripts.bench.equality            # tiny instances, of random weights: a minute on one core
    python -m scripts.bench.equality --model ~/models/wan --frames 9 --height 64 --width 96

Each row is one scheduler, guidance scale and number of network calls. The nodes are those of the library's scheduler;
all else (schedule, parameterization, solver, guidance, conditions) is what ``mmdiff sample`` computes with. Needs the
extra ``bench``.
"""

import argparse
import contextlib
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import diffusers
import torch
from einops import rearrange
from torch import Tensor

from mmdiff.adapters.public import pipeline_of
from mmdiff.adapters.video.wan import WanNetwork
from mmdiff.cli import adopt
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import DDIM, Euler, Sampler, UniPC
from mmdiff.core.samplers.dpm import DPMSolverPP2M, DPMSolverPP2MSDE
from mmdiff.core.schedules import Until
from mmdiff.core.types import Masked
from mmdiff.model import DiffusionModel
from mmdiff.store import load_model
from tests import tiny
from tests.published import Listed, of_flow

SEEDS = [3, 4]


class Case(NamedTuple):
    """A scheduler of the library, and what is the same here."""

    name: str
    scheduler: Any
    sampler: Callable[..., Sampler]
    log_snr: Callable[[Any], Tensor]
    """Of the nodes that the scheduler visited last."""
    whole: bool = False
    """Whether times are cut to whole numbers."""


def of_ratio(scheduler: Any) -> Tensor:
    """Of sigmas of x = x0 + sigma eps, without the last one, which is 0."""
    return -2 * scheduler.sigmas.double()[:-1].log()


def of_straight(scheduler: Any) -> Tensor:
    """Of sigmas of straight paths."""
    return of_flow(scheduler.sigmas)


def of_table(scheduler: Any) -> Tensor:
    """Of steps of a table."""
    signal = scheduler.alphas_cumprod[scheduler.timesteps]
    return (signal / (1 - signal)).log()


def wan_cases() -> Iterator[Case]:
    yield Case("FlowMatchEuler, shift 3", diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), Euler, of_straight)
    unipc = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0)
    yield Case("UniPC of flow, shift 3", unipc, UniPC, of_straight, whole=True)
    yield Case("UniPC of flow, exact times here", unipc, UniPC, of_straight)


def ltx_cases() -> Iterator[Case]:
    euler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, max_image_seq_len=4096,
        shift_terminal=0.1)
    yield Case("FlowMatchEuler, shifted by size", euler, Euler, of_straight)


class Gap(int):
    """As a number of steps: what ``1000 // number`` has to be, so that a step ends where the next one begins."""

    def __rfloordiv__(self, total: int) -> int:
        return int(self)


class ToNextNode(diffusers.CogVideoXDDIMScheduler):
    """The library's step, of the length of its own list of times. It takes ``1000 // number of steps`` for all of them:
    where that leaves a remainder, the network is told another time than that at which the sample is."""

    def step(self, model_output: Tensor, timestep: Tensor, *args: Any, **settings: Any) -> Any:
        steps, after = self.num_inference_steps, self.timesteps[self.timesteps < timestep]
        self.num_inference_steps = Gap(timestep - (after[0] if len(after) else -1))
        try:
            return super().step(model_output, timestep, *args, **settings)
        finally:
            self.num_inference_steps = steps


def cogvideox_cases() -> Iterator[Case]:
    settings = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "snr_shift_scale": 3.0,
                "timestep_spacing": "trailing", "clip_sample": False}
    yield Case("DDIM, trailing", diffusers.CogVideoXDDIMScheduler(**settings), DDIM, of_table)
    yield Case("DDIM, trailing, to the next node", ToNextNode(**settings), DDIM, of_table)


def ace_step_cases() -> Iterator[Case]:
    yield Case("FlowMatchEuler, shift 3", diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1), Euler,
               of_straight)


def stable_audio_cases() -> Iterator[Case]:
    edm = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.3, sigma_max=500, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction")
    edm.precondition_noise = lambda sigma: sigma.atan() / math.pi * 2
    yield Case("DPM++ 2M, told the level", edm, DPMSolverPP2M, of_ratio)
    yield Case("cosine DPM++ 2M SDE", diffusers.CosineDPMSolverMultistepScheduler(), DPMSolverPP2MSDE, of_ratio)


class Family(NamedTuple):
    """A family of models: how its pipeline is called, and its tiny instance."""

    tiny: Callable[[Path], Path]
    cases: Callable[[], Iterator[Case]]
    reader: dict[str, float]
    call: dict[str, Any]
    rows: Mapping[str, Any] = MappingProxyType({})
    layout: str = ""
    """How its pipeline arranges latents ``b c t h w``, or ``b c t``; as they are where that is not said."""
    guided: bool = True
    """Whether its guidance is that of predictions, and so the same here."""
    texts: tuple[str, str] = ("a red disc", "the blue square moves")

    def arranged(self, latents: Tensor) -> Tensor:
        return rearrange(latents, self.layout) if self.layout else latents

    def back(self, latents: Tensor, like: Tensor) -> Tensor:
        if not self.layout:
            return latents
        sizes = dict(zip("thw", like.shape[2:], strict=False)) if "(" in self.layout else {}
        return rearrange(latents, " -> ".join(reversed(self.layout.split(" -> "))), **sizes)


def families(size: argparse.Namespace) -> dict[str, Family]:
    films = {"frames": size.frames, "height": size.height, "width": size.width}
    call = {"num_frames": size.frames, "height": size.height, "width": size.width}
    larger = {"frames": 9, "height": 32, "width": 64}
    return {
        "WanPipeline": Family(tiny.wan, wan_cases, films, call),
        "LTXPipeline": Family(
            tiny.ltx, ltx_cases, larger, {"num_frames": 9, "height": 32, "width": 64},
            layout="b c t h w -> b (t h w) c"),
        "CogVideoXPipeline": Family(
            tiny.cogvideox, cogvideox_cases, larger, {"num_frames": 9, "height": 32, "width": 64},
            layout="b c t h w -> b t c h w"),
        "AceStepPipeline": Family(
            tiny.ace_step, ace_step_cases, {"seconds": 0.48}, {"audio_duration": 0.48, "lyrics": ["", ""]},
            layout="b c t -> b t c", guided=False, texts=("a deep drum", "a red drum")),
        "StableAudioPipeline": Family(
            tiny.stable_audio, stable_audio_cases, {"seconds": size.seconds},
            {"audio_end_in_s": size.seconds}, {"seconds": size.seconds}),
    }


def measured(family: Family, folder: Path, calls: list[int], scales: list[float]) -> Iterator[tuple[str, float, float]]:
    """(scheduler, scale and calls; largest difference; deviation of the library's latents)."""
    file = folder / "adopted.safetensors"
    with contextlib.redirect_stdout(sys.stderr):
        adopt.main([str(folder), f"out={file}", "adapter.network.dtype=float32",
                    *(f"adapter.reader.{name}={n}" for name, n in family.reader.items())])
    model, _ = load_model(file)
    pipeline = getattr(diffusers, pipeline_of(folder)).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    schedule, exact = model.denoiser.schedule, WanNetwork._times
    like = Masked(torch.empty(len(SEEDS), model.codec.channels, *model.codec.latent_shape(**family.reader)))
    draws = torch.zeros(len(SEEDS), dtype=torch.long)
    for case in family.cases():
        pipeline.scheduler = case.scheduler
        for steps in calls:
            for scale in scales if family.guided else scales[:1]:
                _inject(lambda i: normal(SEEDS, draws, Purpose.INJECT, like, i))
                start = normal(SEEDS, draws, Purpose.START, like, 0)
                out = pipeline(prompt=[*family.texts], num_inference_steps=steps, guidance_scale=scale,
                               latents=family.arranged(start), output_type="latent", **family.call)
                theirs = family.back(out.frames if hasattr(out, "frames") else out.audios, start)
                nodes = case.log_snr(pipeline.scheduler)
                ratio = float(torch.exp(-nodes[0] / 2))
                model.denoiser.schedule = schedule if math.isinf(ratio) else Until(schedule, ratio)
                WanNetwork._times = _cut(exact) if case.whole else exact
                made = _ours(model, case.sampler(steps, Listed(nodes)), scale, family, like)
                yield f"{case.name} | {scale:g} | {steps}", float((theirs - made).abs().max()), float(theirs.std())
    WanNetwork._times = exact


def _ours(model: DiffusionModel, sampler: Sampler, scale: float, family: Family, like: Masked) -> Tensor:
    rows = [{"caption": text, **family.rows} for text in family.texts]
    return model.latents(rows, SEEDS, like.x.shape[2:], sampler=sampler, guidance=ClassifierFree(scale))


def _cut(exact: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, t, x: (exact(self, t, x) + 1e-6).floor()


def _inject(noise: Callable[[int], Tensor]) -> None:
    """Have the library's stochastic scheduler inject the noise that is injected here."""
    from diffusers.schedulers import scheduling_cosine_dpmsolver_multistep as cosine

    class Keyed:
        def __init__(self, *args: Any, **kwargs: Any):
            self.count = -1

        def __call__(self, *sigmas: Tensor) -> Tensor:
            self.count += 1
            return noise(self.count)

    cosine.BrownianTreeNoiseSampler = Keyed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a public model (default: tiny ones, made here)")
    parser.add_argument("--only", help="one family, such as CogVideoXPipeline")
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 5.0])
    for name, value in {"frames": 5, "height": 32, "width": 48}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=0.03)
    told = parser.parse_args()
    known = families(told)
    print("| family | scheduler | guidance | calls | largest difference | deviation |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        chosen = ({pipeline_of(told.model): told.model} if told.model else
                  {name: family.tiny(Path(made) / name) for name, family in known.items()
                   if told.only in (None, name)})
        for name, folder in chosen.items():
            for what, difference, deviation in measured(known[name], folder, told.calls, told.scales):
                print(f"| {name} | {what} | {difference:.1e} | {deviation:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""The whole of generation: conditions, noise and sampler give latents, the codec samples of them.

    encode what is started from and followed  ->  denoise  ->  decode, mark, save        a micro-batch after the other

While one is denoised the one before is decoded and saved, in a thread of its own and in the order of the batches.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ..data.overlap import overlapped
from ..data.progress import progress_bar
from .batches import MicroBatch, micro_batches
from .edits import carry_out
from .outputs import described
from .request import Request

if TYPE_CHECKING:
    from .pipeline import Pipeline


class GeneratedSample(NamedTuple):
    """The sample ``(C, *S)`` of the request number ``position``, and what the codec had to change of it."""

    position: int
    sample: Tensor
    changes: dict[str, float]


def generate(
    pipeline: "Pipeline", requests: Sequence[Request], batch_size: int, *,
    save: Callable[[GeneratedSample], None] | None = None, show_progress: bool = True,
) -> Generator[GeneratedSample, None, None]:
    """What is asked for, those of one size together, in micro-batches of exactly ``batch_size``, each sample once it is
    saved. With progress, what the codec had to change is told at the end."""
    pipeline.prepare(requests, batch_size)
    model, bar = pipeline.model, _bar(requests, show_progress)

    def denoise(batch: MicroBatch) -> tuple[MicroBatch, Tensor]:
        make = partial(
            model.latents, batch.labels, batch.seeds, negative=batch.negative, sampler=pipeline.sampler,
            guidance=pipeline.guidance, mark=pipeline.mark,
            progress=lambda call: bar.set_postfix_str(f"network call {call + 1}/{pipeline.sampler.calls}"),
        )
        if batch.edits:
            return batch, carry_out(make, batch.edits, device=model.device)
        return batch, make(model.codec.latent_shape(**batch.size))

    @torch.no_grad()
    def finish(denoised: tuple[MicroBatch, Tensor]) -> list[GeneratedSample]:
        (batch, latents), found = denoised, []
        decoded = model.finished(latents, **batch.size)
        for position, seed, (sample, changes) in zip(batch.positions, batch.seeds, decoded, strict=False):
            found.append(GeneratedSample(position, pipeline.mark.embed_sample(sample, seed, model.codec), changes))
            if not torch.isfinite(found[-1].sample).all():
                raise FloatingPointError(f"the sample with seed {seed} holds NaN: is the model trained?")
            if save is not None:
                save(found[-1])
        return found

    changes: list[dict[str, float]] = []
    with bar:
        for samples in overlapped(map(denoise, micro_batches(pipeline, requests, batch_size)), finish):
            changes += [generated.changes for generated in samples]
            bar.update(len(samples))
            yield from samples
    if show_progress and (sentence := described(changes)):
        print(sentence)


def _bar(requests: Sequence[Request], shown: bool) -> tqdm:
    return progress_bar(total=len(requests), unit="item", disable=not requests or not shown)

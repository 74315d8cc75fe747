"""How an extension drifts: continue a film to four times the trained length, and compare window after window.

    python scripts/scene/drift.py RUN FILM [--out docs/img/scene.png]

Starts from the first half window of the film at several places and continues it. For each window after the given
frames: brightness, contrast and sharpness over those of the real film, and the distance of its frames to the nearest
real one (over that of real frames half a minute away to their nearest), with the spread over starts.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import mmdiff
from mmdiff.adapters.video.motion import sharpness
from mmdiff.adapters.video.pictures import contact_sheet
from mmdiff.adapters.video.write import write_video
from mmdiff.core.types import Masked
from mmdiff.generation.edits import carry_out
from mmdiff.metrics.neighbours import nearest_distances
from mmdiff.metrics.rows import markdown


def extended(pipeline: mmdiff.Pipeline, given: Tensor, length: int, seeds: list[int]) -> Tensor:
    """Continue latents ``(B, C, T, H, W)`` to ``length`` frames; gives samples in [-1, 1]."""
    model, window = pipeline.model, int(pipeline.size["frames"])
    x = torch.zeros(*given.shape[:2], length, *given.shape[3:])
    mask = torch.zeros(len(given), 1, *x.shape[2:], dtype=torch.bool)
    x[:, :, : given.shape[2]], mask[:, :, : given.shape[2]] = given, True

    def make(shape, **options):
        return model.latents(
            [{}] * len(given), seeds, shape, sampler=pipeline.sampler, guidance=pipeline.guidance, **options
        )

    return torch.stack(model.decoded(carry_out(make, Masked(x, mask), mode="extend", window=window)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--starts", type=int, default=8, help="places in the film to start from")
    parser.add_argument("--times", type=int, default=4, help="how many times the trained length")
    parser.add_argument("--out", type=Path, help="a picture of real and generated frames; films go beside it")
    args = parser.parse_args()
    pipeline = mmdiff.load(args.run)
    size = {name: int(pipeline.size[name]) for name in ("frames", "height", "width")}
    window, length = size["frames"], args.times * size["frames"]
    film = pipeline.model.codec.load(args.film, **size)
    starts = np.linspace(0, film.shape[1] - length, args.starts).astype(int)
    real = torch.stack([film[:, s : s + length] for s in starts])
    latents = pipeline.model.codec.encode(Masked(real)).x
    made = torch.cat([
        extended(pipeline, latents[i : i + 1, :, : window // 2], length, [i]) for i in tqdm(range(len(starts)))
    ])
    frames = film.transpose(0, 1)
    far = torch.stack([
        nearest_distances(frames[i : i + 1], torch.cat([frames[: max(0, i - 450)], frames[i + 450 :]]))[0][0]
        for i in range(0, len(frames), max(1, len(frames) // 24))
    ]).mean()
    rows = []
    for k in range(args.times):
        part = slice(k * window + (window // 2 if k == 0 else 0), (k + 1) * window)
        a, b = made[:, :, part], real[:, :, part]
        near = nearest_distances(a.transpose(1, 2).flatten(0, 1), frames)[0].reshape(len(a), -1).mean(1) / far
        rows.append({
            "frames": f"{part.start}-{part.stop - 1}",
            "brightness, generated - real": (a.mean((1, 2, 3, 4)) - b.mean((1, 2, 3, 4))).mean().item(),
            "contrast / real": (a.flatten(1).std(1) / b.flatten(1).std(1)).mean().item(),
            "sharpness / real": (sharpness(a) / sharpness(b)).mean().item(),
            "motion / real": (a.diff(dim=2).abs().mean() / b.diff(dim=2).abs().mean()).item(),
            "nearest real frame": near.mean().item(),
            "spread over starts": near.std().item(),
        })
    print(markdown(rows))
    if args.out:
        samples = [x for i in range(min(3, len(starts))) for x in (real[i], made[i])]
        given = f"continued from its first {window // 2} frames"
        titles = [t for s in starts[: len(samples) // 2] for t in (f"real, from frame {s}", given)]
        contact_sheet(samples, titles, args.out, frames=12)
        for i, clip in enumerate(made[:3]):
            write_video(clip, args.run / f"extended-{i}.mp4", pipeline.model.codec.fps, upscale=4)


if __name__ == "__main__":
    main()

"""Train the two classifiers that spoken digits are scored with: which digit, and who speaks.

    python scripts/fsdd/classifiers.py --data RECORDINGS --out CLASSIFIERS

Cross-entropy on the training split alone, with shifts in time, white noise and masked bands and frames (SpecAugment,
Park et al. 2019). One thread and one seed, so that a second run on the same machine gives the same weights.
"""

import argparse
from pathlib import Path

import torch
from features import CLASSES, SIZE, Classifier, Clips, recordings, save
from torch import Tensor, nn
from tqdm import tqdm

from mmdiff.evaluation.classify import accuracy

SHIFT = 800
"""Most samples (0.1 s) that a clip is shifted by."""
NOISE = (1e-3, 1e-1)
"""Range of the noise's amplitude, log-uniform; clips peak at 1. It hides what rooms and vocoders leave in pauses."""
MASKED = {-2: 6, -1: 12}
"""Most bands and frames that are masked at once."""


def augmented(waves: Tensor, generator: torch.Generator) -> Tensor:
    """Waves ``(B, SIZE)`` shifted in time, in a circle, and under white noise."""
    shift = torch.randint(-SHIFT, SHIFT + 1, (len(waves), 1), generator=generator)
    waves = waves.gather(1, (torch.arange(SIZE) - shift) % SIZE)
    low, high = (torch.tensor(level).log() for level in NOISE)
    level = torch.exp(low + (high - low) * torch.rand(len(waves), 1, generator=generator))
    return waves + level * torch.randn(waves.shape, generator=generator)


def masked(log_mel: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels ``(B, M, T)`` with one run of bands and one of frames set to the clip's mean."""
    mean = log_mel.mean((1, 2), keepdim=True)
    for dim, most in MASKED.items():
        size = log_mel.shape[dim]
        width = torch.randint(most + 1, (len(log_mel), 1), generator=generator)
        start = (torch.rand(len(log_mel), 1, generator=generator) * (size - width)).long()
        hidden = (torch.arange(size) >= start) & (torch.arange(size) < start + width)
        log_mel = torch.where(hidden.unsqueeze(1 if dim == -1 else 2), mean, log_mel)
    return log_mel


def train(field: str, clips: Clips, *, seed: int, epochs: int, batch: int = 64, lr: float = 3e-3) -> Classifier:
    """A classifier of ``field`` ("digit" or "speaker")."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model, target = Classifier(len(CLASSES[field])).train(), getattr(clips, field)
    steps = epochs * (len(target) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    with tqdm(total=steps, desc=f"training {field}", unit="step") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(target), generator=generator)
            for chosen in order[: len(order) // batch * batch].split(batch):
                log_mel = masked(model.log_mel(augmented(clips.waves[chosen], generator)), generator)
                loss = nn.functional.cross_entropy(model(log_mel), target[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of {digit}_{speaker}_{index}.wav at 8 kHz")
    parser.add_argument("--out", type=Path, required=True, help="folder for digit.safetensors and speaker.safetensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    clips, held_out = recordings(args.data, "train"), recordings(args.data, "test")
    for field in CLASSES:
        model = train(field, clips, seed=args.seed, epochs=args.epochs)
        _, probabilities = model.judge(held_out.waves)
        share = accuracy(probabilities.argmax(1), getattr(held_out, field)).value
        facts = {"field": field, "seed": args.seed, "epochs": args.epochs, "accuracy": share, "n": len(held_out.waves)}
        sha256 = save(model, args.out / f"{field}.safetensors", facts)
        count = sum(p.numel() for p in model.parameters())
        print(f"{field}: {share:.4f} of {facts['n']} test clips, {count} parameters, weights {sha256[:12]}")


if __name__ == "__main__":
    main()

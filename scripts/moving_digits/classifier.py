"""Train the network that clips of a moving digit are scored with.

    python scripts/moving_digits/classifier.py --data MNIST --out clipnet.safetensors
"""

import argparse
from pathlib import Path

import torch
from clipnet import ClipNet, digits, real, save
from torch import nn
from tqdm import tqdm

from mmdiff.core.rng import Purpose, stream
from mmdiff.evaluation.classify import accuracy
from mmdiff.evaluation.motion import centres


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz or its folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    data, model = digits(args.data), ClipNet().train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, args.steps)
    with tqdm(range(args.steps), "training", unit="step") as bar:
        for step in bar:
            rng = stream(args.seed, step, Purpose.ORDER)
            read = [data.read(int(i), rng) for i in rng.integers(0, data.n_train, args.batch)]
            clips = torch.stack([clip for clip, _ in read])
            true = torch.tensor([int(labels["digit"]) for _, labels in read])
            where = centres(clips)[:, [0, -1]].flatten(1).float()
            noise = torch.rand(len(clips), 1, 1, 1, 1) * 0.1
            _, clip, frame, ends = model(clips + noise * torch.randn_like(clips))
            loss = nn.functional.cross_entropy(clip, true) + nn.functional.mse_loss(ends, where)
            loss = loss + 0.5 * nn.functional.cross_entropy(frame.flatten(0, 1), true.repeat_interleave(frame.shape[1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    clips, true = real(data, "test", 2048, seed=1)
    judged = model.eval().judge(clips)
    share = accuracy(judged.probabilities.argmax(1), true).value
    frames = (judged.frames == true[:, None]).double().mean().item()
    facts = {"seed": args.seed, "steps": args.steps, "accuracy": share, "frame_accuracy": frames, "n": len(true)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    digest = save(model, args.out, facts)
    print(f"{share:.4f} of {len(true)} test clips, {frames:.4f} of their frames, weights {digest[:12]}")


if __name__ == "__main__":
    main()

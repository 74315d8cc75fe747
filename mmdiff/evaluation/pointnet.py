"""PointNet, a classifier of point clouds: what were they taken for, and where do they lie among real ones?

    f(X) = head(max_i h(x_i)),    h one perceptron for all points            (Qi et al. 2017, eq. 1)

The maximum makes it blind to the order of points and nearly so to their number. There are no learned rotations (the
paper's T-nets): shapes are expected upright. Trained on the training split of the reference, its accuracy on generated
shapes is read beside that on real test shapes, and Fréchet distances are taken between its features.
"""

from itertools import pairwise

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from tqdm import tqdm

WIDTHS = (64, 128, 256)
"""Of h, for each point."""
FEATURES = 128


def _perceptron(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in pairwise(widths):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers)


class PointFeatures(nn.Module):
    """Clouds ``(B, 3, N)`` of one normaliser, any N -> ``(B, FEATURES)``."""

    def __init__(self):
        super().__init__()
        self.points = _perceptron(3, *WIDTHS)
        self.shape = _perceptron(WIDTHS[-1], FEATURES)

    def features(self, clouds: Tensor) -> Tensor:
        """``(B, 3, N)`` -> ``(B, FEATURES)``, what a last layer sees."""
        points = self.points(rearrange(clouds, "b c n -> (b n) c"))
        return self.shape(reduce(points, "(b n) c -> b c", "max", b=len(clouds)))


class PointNet(PointFeatures):
    """Clouds ``(B, 3, N)`` -> logits ``(B, classes)``."""

    def __init__(self, classes: int):
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURES, classes))

    def forward(self, clouds: Tensor) -> Tensor:
        return self.head(self.features(clouds))


def augmented(
    clouds: Tensor, generator: torch.Generator, *, points: int = 256, jitter: float = 0.01, scale: float = 0.05
) -> Tensor:
    """Clouds ``(B, 3, N)`` as training sees them: ``points`` of them at random, moved and stretched a little.

    ``jitter`` is a standard deviation in units of the points; each axis is stretched by 1 - ``scale`` to 1 + ``scale``.
    """
    chosen = torch.rand(len(clouds), 1, clouds.shape[2], generator=generator).argsort(2)[..., :points]
    clouds = clouds.gather(2, chosen.expand(-1, 3, -1))
    stretch = 1 + scale * (2 * torch.rand(len(clouds), 3, 1, generator=generator) - 1)
    return stretch * clouds + jitter * torch.randn(clouds.shape, generator=generator)


def train(
    clouds: Tensor, labels: Tensor, *, steps: int = 1000, seed: int = 0, points: int = 256, batch: int = 32,
    lr: float = 8e-3,
) -> PointNet:
    """A classifier of clouds ``(n, 3, N)``, float32 of one normaliser, with labels ``(n,)`` from 0; the same each time.

    Cross-entropy with labels smoothed by 0.1, AdamW, one cycle of the learning rate; a minute of one core. Raises
    ``ValueError`` for sizes that do not match or fewer clouds than a batch.
    """
    if clouds.ndim != 3 or clouds.shape[1] != 3 or labels.shape != clouds.shape[:1] or len(clouds) < batch:
        given = f"{tuple(clouds.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"need clouds (n, 3, N) and labels (n,) with n >= batch = {batch}, got {given}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PointNet(int(labels.max()) + 1).train()
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
        order = torch.empty(0, dtype=torch.long)
        for _ in (bar := tqdm(range(steps), "training PointNet", unit="step", leave=False)):
            if len(order) < batch:
                order = torch.randperm(len(clouds), generator=generator)
            rows, order = order[:batch], order[batch:]
            logits = model(augmented(clouds[rows], generator, points=points))
            loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


@torch.no_grad()
def judge(model: PointNet, clouds: Tensor, *, points: int = 512, batch: int = 100) -> tuple[Tensor, Tensor]:
    """Features ``(n, FEATURES)`` and class probabilities ``(n, classes)`` of the first ``points`` of ``(n, 3, N)``.

    The order of the points must not carry meaning: shuffle what a mesh or a scan was read from.
    """
    features = torch.cat([model.features(part) for part in clouds[..., :points].split(batch)])
    return features, model.head(features).softmax(-1)

"""Four overlapping Gaussians in the plane, each asked for by its number, with mmdiff.core and mmdiff.nn alone."""

import torch
from torch import nn

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.guidance import ClassifierFree, Unguided
from mmdiff.core.loss import DiffusionLoss
from mmdiff.core.parameterizations import Velocity
from mmdiff.core.samplers import Auto
from mmdiff.core.schedules import Linear
from mmdiff.core.types import Condition, Masked
from mmdiff.nn.embeddings import Embedding

torch.manual_seed(0)
torch.set_num_threads(1)                                              # more would wait for each other at this size
CENTRES, STD = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]), 0.7


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = Embedding(64, cond_dim=4)                    # of the noise level and the condition
        self.layers = nn.Sequential(nn.Linear(2 + 64, 256), nn.SiLU(), nn.Linear(256, 2))

    def forward(self, x, level, cond, mask):                          # (B, 2, 1), (B,) -> (B, 2, 1)
        return self.layers(torch.cat([x[..., 0], self.embedding(level, cond.vector)], dim=1))[..., None]


def condition(label, hidden=0.0):                                     # nothing for a share ``hidden`` of the labels
    return Condition(vector=nn.functional.one_hot(label, 4) * (torch.rand(len(label), 1) >= hidden).float())


denoiser, loss = Denoiser(Network(), Linear(), Velocity()), DiffusionLoss()
optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-3)
for _ in range(1000):
    label, t = torch.randint(4, (512,)), torch.rand(512)
    x0 = (CENTRES[label] + STD * torch.randn(512, 2))[..., None]
    optimizer.zero_grad()
    loss(denoiser, Masked(x0), eps=torch.randn_like(x0), t=t, cond=condition(label, hidden=0.1)).mean().backward()
    optimizer.step()

label, share = torch.arange(4).repeat(1000), {}
for guidance in (Unguided(), ClassifierFree(scale=2.0)):
    denoise = guidance(denoiser, condition(label), null=condition(label, hidden=1.0))       # (x_t, t) -> x0
    with torch.no_grad():
        x = Auto(steps=10)(denoise, torch.randn(4000, 2, 1), denoiser.schedule)[..., 0]
    share[type(guidance)] = float((torch.cdist(x, CENTRES).argmin(1) == label).double().mean())
    print(f"{type(guidance).__name__}: {share[type(guidance)]:.1%} are nearest to the centre asked for")
assert abs(share[Unguided] - 0.853) < 0.04, "of the true Gaussians 85.3 % are: the square of Phi(1 / 0.7)"
assert share[ClassifierFree] > 0.97, "guidance moves samples away from the other classes"

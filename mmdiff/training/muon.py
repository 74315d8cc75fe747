"""Muon for the matrices inside a network's blocks, AdamW for all else.

    m <- momentum m + g,     W <- W - lr 0.2 sqrt(max(rows, columns)) orthogonal(g + momentum m)

``orthogonal`` is the nearest matrix with singular values about 1, by five Newton-Schulz steps (Jordan et al. 2024). The
factor makes the step as long as AdamW's (Liu et al. 2025, eq. 4), so learning rates of both are of one kind.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from .optim import AdamW, Recipe


class Muon(Recipe):
    """A recipe like ``AdamW``: ``lr`` of the matrices, ``rest`` for everything else, its warm-up and decay for both.

    Needs a network with ``blocks``, and refuses others: what is orthogonal of a convolution is a matter of taste.
    """

    def __init__(self, *, lr: float = 3e-3, momentum: float = 0.95, rest: AdamW | None = None):
        if lr <= 0 or not 0 <= momentum < 1:
            raise ValueError(f"need lr > 0 and 0 <= momentum < 1, got {lr} and {momentum}")
        self.lr, self.momentum, self.rest = lr, momentum, rest or AdamW()
        self.clip = self.rest.clip

    def __call__(self, module: nn.Module, *, steps: int, fused: bool = True) -> tuple[torch.optim.Optimizer, LambdaLR]:
        blocks = [b for m in module.modules() for b in getattr(m, "blocks", ()) if isinstance(b, nn.Module)]
        matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2 and p.requires_grad]
        if not matrices:
            raise ValueError("optim=muon needs a network with transformer blocks; use optim=adamw for this one")
        chosen = {id(p) for p in matrices}
        others = [p for p in module.parameters() if p.requires_grad and id(p) not in chosen]
        muon = torch.optim.Muon(
            matrices, lr=self.lr, momentum=self.momentum, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
        adamw = torch.optim.AdamW(self.rest.groups(others), lr=self.rest.lr, betas=self.rest.betas, fused=fused)
        optimizer = CombinedOptimizer(muon, adamw)
        return optimizer, LambdaLR(optimizer, lambda step: self.rest.factor(step, steps))


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one: they share its parameter groups and its state."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self.optimizers = optimizers
        super().__init__([group for o in optimizers for group in o.param_groups], {})
        self._alias()

    def _alias(self) -> None:
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]
            optimizer.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each; ``closure`` computes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._alias()

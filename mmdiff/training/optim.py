"""AdamW with warm-up and an optional decay.

    lr(s) = lr min(1, (s + 1) / warmup) decay(s),     decay: 1 until ``hold`` of the run, then to 0 by cosine or line

Weights of one dimension (biases, norms, embeddings of absence) are not decayed.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR

DECAYS = {
    "constant": lambda x: 1.0,
    "cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)),
    "linear": lambda x: 1 - x,
}


class Recipe(ABC):
    """Called with a module and the length of the run it gives the optimizer and its lr_schedule."""

    clip: float
    """Bound of the gradient's norm (0 = none)."""

    @abstractmethod
    def __call__(
        self, module: nn.Module, *, steps: int, fused: bool = True
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimizer over the parameters that require gradients, and the schedule over ``steps`` optimizer steps."""


def settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What each parameter group of a new optimizer is set to, its first ``lr`` included."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def impose(asked: list[dict[str, Any]], optimizer: torch.optim.Optimizer, schedule: LambdaLR) -> None:
    """Set an optimizer whose state was loaded to the ``settings`` that it was made with, at the step of its schedule.

    Nothing changes, to the last bit, where the state was saved with the same settings.
    """
    schedule.base_lrs = [group["initial_lr"] for group in asked]
    for group, group_lr, factor in zip(optimizer.param_groups, asked, schedule.lr_lambdas, strict=True):
        group.update(group_lr, lr=group_lr["initial_lr"] * factor(schedule.last_epoch))
        for parameter in group["params"]:                             # fused ones count their steps on the device
            state = optimizer.state.get(parameter, {})
            if "step" in state:
                state["step"] = state["step"].to(parameter.device if group.get("fused") else "cpu")
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]


def skip_unless(optimizer: torch.optim.Optimizer, fine: Tensor) -> None:
    """Have the next step change nothing where ``fine`` () is False, which the device alone knows yet; an optimizer that
    cannot leave a step out by itself has gradients of 0 there."""
    for one in getattr(optimizer, "optimizers", (optimizer,)):
        if getattr(one, "_step_supports_amp_scaling", False):         # fused ones, as for torch's GradScaler
            vars(one)["found_inf"] = (~fine).float()
            continue
        for gradient in (p.grad for group in one.param_groups for p in group["params"] if p.grad is not None):
            local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
            local.masked_fill_(~fine, 0)


class AdamW(Recipe):
    """AdamW for all parameters.

    ``lr`` peak; ``warmup`` in optimizer steps; ``decay`` constant, cosine or linear, starting at the share ``hold`` of
    the run; ``clip`` bounds the gradient's norm (0 = not at all).
    """

    def __init__(
        self, *, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 1e-3,
        warmup: int = 100, decay: str = "cosine", hold: float = 0.3, clip: float = 1.0,
    ):
        if decay not in DECAYS:
            raise ValueError(f"optim.decay is one of {', '.join(DECAYS)}, got {decay!r}")
        if lr <= 0 or not 0 <= hold <= 1 or warmup < 0 or clip < 0:
            raise ValueError(f"need lr > 0, 0 <= hold <= 1, warmup >= 0, clip >= 0, got {lr}, {hold}, {warmup}, {clip}")
        self.lr, self.betas, self.weight_decay = lr, (betas[0], betas[1]), weight_decay
        self.warmup, self.decay, self.hold, self.clip = warmup, decay, hold, clip

    def __call__(
        self, module: nn.Module, *, steps: int, fused: bool = True
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(self.groups(parameters), lr=self.lr, betas=self.betas, fused=fused)
        return optimizer, LambdaLR(optimizer, lambda step: self.factor(step, steps))

    def groups(self, parameters: list[nn.Parameter]) -> list[dict]:
        """Parameter groups: what is decayed, and what is not."""
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def factor(self, step: int, steps: int) -> float:
        """lr(step) / lr."""
        start = self.hold * steps
        progress = min(max((step - start) / max(steps - start, 1), 0.0), 1.0)
        return min(1.0, (step + 1) / max(self.warmup, 1)) * DECAYS[self.decay](progress)

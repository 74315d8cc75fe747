"""A linear layer of which each row rounds alike wherever it stands in a batch.

    y = W x + b,    x and the rows of W filled up by zeros to a multiple of 16 numbers, W to two rows at least

Libraries of linear algebra sum up the product of a few rows, or with a single output, by where each row begins in
memory and what remains of groups of four. Samples of a batch are rows, and are to be the same in any batch.
"""

import torch.nn.functional as F
from torch import Tensor, nn

LINE = 16
"""Numbers of float32 in 64 bytes, the widest that processors read at once."""


class AlignedLinear(nn.Linear):
    """``(..., in)`` -> ``(..., out)``, as ``nn.Linear``: for widths that are no multiple of 16, or one output."""

    def forward(self, x: Tensor) -> Tensor:
        spare, rows = -self.in_features % LINE, max(0, 2 - self.out_features)
        bias = self.bias if self.bias is None or not rows else F.pad(self.bias, (0, rows))
        y = F.linear(F.pad(x, (0, spare)) if spare else x, F.pad(self.weight, (0, spare, 0, rows)), bias)
        return y[..., : self.out_features]

"""Numbers of a device, read when they have long arrived.

To ask a device for a number is to wait for all that was asked of it before; to ask for its copy of a step ago costs
nothing, as the device has the next step to do meanwhile.
"""

import torch
from torch import Tensor


class Late:
    """A copy of ``values`` ``(n,)`` on its way to the host."""

    def __init__(self, values: Tensor):
        values = values.detach()
        self._event = torch.cuda.Event() if values.is_cuda else None
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
        self._host.copy_(values, non_blocking=True)
        if self._event is not None:
            self._event.record()

    def read(self) -> list[float]:
        """The values; the wait is for what was asked of the device before the copy, and nothing after it."""
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()

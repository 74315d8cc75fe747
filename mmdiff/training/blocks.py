"""The blocks of a network: the unit in which it is sharded, compiled, and computed again to save memory.

What a block is says ``mmdiff.nn.network.blocks``; names of weights never change.
"""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..nn.network import blocks
from ..nn.offload import offload as stay


def prepare(network: nn.Module, *, recompute: int, compiled: bool, offload: bool = False) -> None:
    """Checkpoint the activations of every ``recompute``-th block (0 = none), and ``torch.compile`` each block; with
    ``offload`` keep the weights of a public model on the host.

    A block whose activations are not kept is computed again in the backward pass. Raises ``ValueError`` where a network
    has no blocks, and for what does not go together.
    """
    if recompute < 0:
        raise ValueError(f"recompute is a number of blocks, or 0 for none; got {recompute}")
    units = list(blocks(network))
    if (recompute or compiled) and not units:
        raise ValueError(f"recompute and compile work block by block, and {type(network).__name__} has no blocks")
    if offload and (recompute != 1 or compiled):
        raise ValueError("offload=true goes with recompute=1, as what is kept for the gradient of a block keeps its "
                         "weights on the device, and not with compile=true")
    if offload:
        stay(network)
    for i, block in enumerate(units, 1):
        if recompute and i % recompute == 0:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if compiled:
            block.forward = torch.compile(block.forward)

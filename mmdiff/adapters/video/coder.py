"""Films to latents with a causal 3-D convolutional encoder and back; see ``mmdiff.nn.causal``."""

import math
from collections.abc import Sequence

from ...nn.causal import decoder, encoder
from ..base import Count
from ..coder import GridCoder


class FilmCoder(GridCoder):
    """``stride`` is (frames, height, width) of a latent, powers of two, height and width alike; ``width`` channels
    after the first halving, times ``multipliers`` after each; ``blocks`` at each size, both ways.

    Frames are 1 + k stride: 5, 9, 17 ... waste nothing. ``chunk`` latents of frames that are ``tile`` of them high and
    wide are coded at once.
    """

    causal = True

    def __init__(
        self, *, stride: Sequence[int] = (4, 8, 8), width: Count = 32, multipliers: Sequence[int] = (1, 2, 4),
        blocks: Count = 1, chunk: Count = 16, tile: Count = 32,
    ):
        super().__init__()
        halvings = [math.log2(n) if n > 0 else -1.0 for n in stride]
        if len(halvings) != 3 or any(n != int(n) or n < 0 for n in halvings) or halvings[1] != halvings[2]:
            raise ValueError("stride is (frames, height, width) of a latent, powers of two, the last two alike, as "
                             f"[4, 8, 8]; got {list(stride)}")
        levels, in_time = int(halvings[1]), int(halvings[0])
        if not in_time <= levels == len(multipliers):
            raise ValueError(f"stride {list(stride)} halves a picture {levels} times: name so many multipliers, and "
                             f"halve a film at most as often; got {list(multipliers)}")
        self.stride, self.chunk, self.tile = tuple(int(n) for n in stride), chunk, tile
        self.widths, self.blocks = [width * m for m in multipliers], blocks
        self.halved = [level >= levels - in_time for level in range(levels)]
        wrong = 0                                                     # first frames that a cut before them changes
        for frames in self.halved[::-1]:
            wrong += 2 * blocks
            wrong = 2 * (wrong + 2) - 1 if frames else wrong
        self.reach = (1 + -(-(wrong - 1) // self.stride[0]), 0)
        wrong = 0                                                     # the same of latents
        for frames in self.halved:
            wrong = (wrong + 1) // 2 + 1 if frames else wrong
            wrong += 2 * blocks
        self.sight = (max(1, wrong), 0)
        beside = blocks * sum(0.5**level for level in range(levels))  # 3 x 3 in space, of ever smaller pixels
        self.beside = (math.ceil(1 + beside), math.ceil(beside))

    def make(self, channels: int, latent: int, moments: int) -> None:
        self.encoder = encoder(channels, moments * latent, self.widths, self.halved, self.blocks)
        self.decoder = decoder(latent, channels, self.widths, self.halved, self.blocks)

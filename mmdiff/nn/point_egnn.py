"""A network over small sets of points that turns with them, such as the atoms of molecules: messages along all pairs.

    d_ij = |x_i - x_j|,    m_ij = silu(W silu(A h_i + B h_j + C hats(d_ij)))            (EGNN, Satorras et al. 2021)
    h_i <- h_i + g1 M sum_j sigmoid(G m_ij) m_ij,    h_i <- h_i + g2 MLP(h_i)           (gates as in adaLN-Zero)
    v_i  = k(e) sum_j (w m_ij) (x_i - x_j) / (1 + d_ij),    x_i <- x_i - n v_i,    n = sin(pi level / 2)
    out  = s(e) (x - mean x) + c(e) mean x / n + sum of v;    W' h for the other channels;    w, s, c, W' = 0 at first

Turning or mirroring the points does the same to the output, permuting them permutes it, and moving all of them adds one
vector to all of it. What was put out so far is taken off the places by the share of noise in them: where the output
stands for noise or a velocity, the places become those of x0 from block to block, and distances those of bonds. Blocks
are told distances and do not learn through them.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .aligned import AlignedLinear
from .attention import check_backend
from .blocks import Attention, hide, modulate, zero
from .embeddings import Embedding, LevelFeatures
from .inputs import CondLike, Inputs, Intake
from .network import Network

REACH = 3.0
"""Distance of the last node, in standard deviations of the noisy coordinates; beyond it, the distance alone is told."""
LEAST = 0.02
"""Share of noise below which the middle of a set is not asked for what is noise in it."""


class MessageBlock(nn.Module):
    """``h`` ``(B, N, dim)`` and ``places`` ``(B, N, 3)`` -> the next ``h``, and velocities ``(B, N, 3)``."""

    nodes: Tensor

    def __init__(
        self, dim: int, heads: int, emb_dim: int, *, pair: int, nodes: int, mlp_ratio: float, context_dim: int | None,
        backend: str,
    ):
        super().__init__()
        hidden, self.parts = int(dim * mlp_ratio), [*(6 * [dim]), 1]
        self.register_buffer("nodes", torch.arange(nodes, dtype=torch.float32), persistent=False)
        self.ends, self.distance = nn.Linear(dim, 2 * pair), nn.Linear(nodes + 1, pair, bias=False)
        self.message, self.gate = nn.Linear(pair, pair), AlignedLinear(pair, 1)
        self.move, self.gather = zero(AlignedLinear(pair, 1, bias=False)), nn.Linear(pair, dim)
        self.cross = Attention(dim, heads, context_dim=context_dim, backend=backend) if context_dim else None
        self.cross_norm = nn.LayerNorm(dim) if context_dim else None
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))
        self.modulation = zero(nn.Linear(emb_dim, 6 * dim + 1))
        if self.cross is not None:
            zero(self.cross.out)

    def forward(
        self, h: Tensor, positions: Tensor, embedding: Tensor, inputs: Inputs, pairs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``pairs`` ``(B, N, N)`` is 1 where both points are real."""
        modulation = self.modulation(embedding)[:, None].split(self.parts, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2, gain = modulation
        positions = positions.detach()
        distance = _distances(positions)[..., None]                                           # (B, N, N, 1)
        a, b = self.ends(modulate(h, shift1, scale1)).chunk(2, dim=-1)
        m = F.silu(a[:, :, None] + b[:, None] + self.distance(self._hats(distance)))          # (B, N, N, P)
        m = F.silu(self.message(m))
        gate, move = self.gate(m).sigmoid(), self.move(m) / (1 + distance)                    # (B, N, N, 1)
        if pairs is not None:
            gate, move = gate * pairs[..., None], move * pairs[..., None]
        h = h + gate1 * self.gather((gate.mT @ m).squeeze(2))
        if self.cross is not None and self.cross_norm is not None and inputs.tokens is not None:
            h = h + self.cross(self.cross_norm(h), inputs.tokens, mask=inputs.tokens_mask)
        h = h + gate2 * self.mlp(modulate(h, shift2, scale2))
        move = move[..., 0]                                           # sum_j m_ij (x_i - x_j), without those vectors
        return h, (1 + gain) * (move.sum(2, keepdim=True) * positions - move @ positions)

    def _hats(self, distance: Tensor) -> Tensor:
        """``(..., 1)`` -> ``(..., nodes + 1)``: 1 at the node, 0 at the ones beside it, linear between; and itself."""
        steps = distance * ((len(self.nodes) - 1) / REACH)
        return torch.cat([(1 - (steps - self.nodes).abs()).clamp(min=0), distance], dim=-1)


def _distances(positions: Tensor) -> Tensor:
    """``(B, N, 3)`` -> ``(B, N, N)``; summed over an axis before those of pairs, as a sum of three in a row is slow."""
    x = positions.mT
    return (x[..., :, None] - x[..., None, :]).square().sum(1).sqrt()


class PointEGNN(Network):
    """``(x (B, channels, N), level (B,) or (B, N), cond, mask (B, 1, N)) -> (B, channels, N)``, any N.

    Equivariant to rotations, reflections and permutations, zero at initialisation. The first 3 channels are
    coordinates; the others, and the ``concat_channels`` of ``cond.concat``, are numbers that do not turn (elements, not
    normals). Each of the N^2 pairs has ``pair`` features, so it is for sets of up to about 100 points. ``nodes`` of the
    distance lie in 0 to 3 standard deviations; ``tokens`` adds cross-attention to ``cond.tokens``.
    """

    ordered = False

    def __init__(
        self,
        channels: int,
        cond_dim: int,
        *,
        dim: int = 128,
        depth: int = 6,
        pair: int = 32,
        nodes: int = 32,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        tokens: bool = False,
        concat_channels: int = 0,
        backend: str = "auto",
    ):
        super().__init__()
        if depth < 1 or pair < 1 or nodes < 2 or channels < 4:
            raise ValueError(
                "need depth >= 1, pair >= 1, nodes >= 2 and 4 channels at least, the 3 of a point and what it is; got "
                f"{depth}, {pair}, {nodes} and {channels}"
            )
        self.intake = Intake(channels, cond_dim, concat_channels=concat_channels, tokens=tokens)
        self.level, self.embedding = LevelFeatures(16), Embedding(dim, cond_dim)
        self.stem = nn.Sequential(nn.Linear(channels - 3 + 16, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.maps = zero(nn.Linear(concat_channels, dim, bias=False)) if concat_channels else None
        self.blocks = nn.ModuleList(
            MessageBlock(
                dim, heads, dim, pair=pair, nodes=nodes, mlp_ratio=mlp_ratio, context_dim=cond_dim if tokens else None,
                backend=check_backend(backend),
            )
            for _ in range(depth)
        )
        self.scales = zero(nn.Linear(dim, 2))
        self.modulation = zero(nn.Linear(dim, 2 * dim))
        self.out = zero(nn.Linear(dim, channels - 3))

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs = self.intake(x, cond, mask)
        positions, rest = rearrange(inputs.x, "b c n -> b n c").tensor_split([3], dim=-1)
        real = torch.ones_like(positions[..., :1]) if mask is None else mask.mT.to(x)         # (B, N, 1)
        each = level[:, None].expand(positions.shape[:2]) if level.ndim == 1 else level
        noisiest = level if level.ndim == 1 else (each * real[..., 0]).amax(1)
        embedding = self.embedding(noisiest, inputs.vector)                                   # (B, D)
        scale_centered, center = self.scales(embedding)[:, None].chunk(2, dim=-1)             # (B, 1, 1)
        mean = positions.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        sigma, v = torch.sin(math.pi / 2 * each)[..., None], scale_centered * (positions - mean)
        alone = center * mean / torch.sin(math.pi / 2 * noisiest).clamp(min=LEAST)[:, None, None]
        out, positions = v + alone, positions - sigma * v
        h = self.stem(torch.cat([rest, self.level(each)], dim=-1))
        if self.maps is not None and inputs.maps is not None:
            h = h + self.maps(inputs.maps.mT)
        pairs = None if mask is None else real * real.mT
        for block in self.blocks:
            h, v = block(h, positions, embedding, inputs, pairs)
            out, positions = out + v, positions - sigma * v
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        other = self.out(modulate(h, shift, scale))
        return hide(rearrange(torch.cat([out, other], dim=-1), "b n c -> b c n"), mask)

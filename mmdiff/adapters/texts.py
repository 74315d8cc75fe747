"""Texts to states, which a network attends to.

    Bytes         a word is the sum of its letters' embeddings, one for each place in it; then a small transformer.
                  Trained with the model, and needs nothing
    Pretrained    a frozen encoder of somebody else: ``mmdiff.adapters.pretrained``

A text that has more tokens than ``length`` is refused, with the part that would not be read, unless ``truncate``.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.blocks import Attention
from ..nn.embeddings import angles

STEP = 16
"""States are padded to a multiple of this: a text is then read by the same arithmetic beside longer ones."""
WORD = re.compile(r"\w+|[^\w\s]")
LETTERS = 16
"""Bytes of a word; what is longer is several words."""


class TextEncoder(ABC):
    """``width`` of a state; ``length``, the most tokens that are read of a text; ``truncate``, whether more are cut."""

    width: int
    length: int
    truncate: bool

    public_parts: tuple[str, ...] = ()
    """Parts of a public model (``adapter.model``) that it works with."""

    @classmethod
    def resolve(cls, **settings: Any) -> dict[str, Any]:
        """The settings with what follows from files that they name, for a model file to hold."""
        return settings

    @abstractmethod
    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, all of them, as they are written."""

    @abstractmethod
    def __call__(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """States ``(B, L, width)`` of B texts and their mask ``(B, L)``; of an empty one all is masked."""

    def check(self, text: str) -> None:
        """Raise ``ValueError`` for a text of which a part would not be read."""
        (tokens,) = self.split([text])
        if len(tokens) > self.length and not self.truncate:
            cut = " ".join(tokens[self.length :])[:80]
            raise ValueError(
                f"{len(tokens)} tokens, of which adapter.text.length={self.length} are read: {cut!r} at its end is not"
                ". Shorten it, read more with adapter.text.length=, or cut it with adapter.text.truncate=true"
            )


def padded_length(count: int) -> int:
    """``count`` tokens with their padding."""
    return max(1, -(-count // STEP)) * STEP


class Bytes(nn.Module, TextEncoder):
    """Words of any script by their UTF-8 bytes. ``width`` of a state, ``depth`` blocks of ``heads`` heads.

    With ``depth`` 0 each word is read on its own: neither its place nor what stands beside it is known.
    """

    def __init__(
        self, *, width: int = 128, depth: int = 2, heads: int = 4, length: int = 64, truncate: bool = False
    ):
        super().__init__()
        if min(width, heads, length) < 1 or depth < 0 or width % (2 * heads):
            raise ValueError(f"need width a multiple of 2 heads, depth at least 0 and length at least 1, got {width}, "
                             f"{heads}, {depth} and {length}")
        self.width, self.length, self.truncate, self.heads = width, length, truncate, heads
        self.letters = nn.Embedding(LETTERS * 256 + 1, width, padding_idx=LETTERS * 256)
        self.word = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(),
                                  nn.Linear(2 * width, width))
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        return [[part for word in WORD.findall(text) for part in _parts(word)] for text in texts]

    def forward(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        words = [tokens[: self.length] for tokens in self.split(texts)]
        ids = torch.full((len(words), padded_length(max(map(len, words))), LETTERS), LETTERS * 256)
        for row, tokens in zip(ids, words, strict=True):
            for place, token in zip(row, tokens, strict=False):
                for i, byte in enumerate(token.encode()[:LETTERS]):
                    place[i] = i * 256 + byte
        mask = (ids[..., 0] < LETTERS * 256).to(device)
        z = self.word(self.letters(ids.to(device)).sum(2))                        # (B, L, width)
        turns = angles(torch.arange(z.shape[1], device=device), self.width // self.heads)
        for block in self.blocks:
            z = block(z, mask, turns)
        return self.norm(z), mask

    __call__ = nn.Module.__call__


class ReadingBlock(nn.Module):
    """A transformer block over words ``(B, L, width)``."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, z: Tensor, mask: Tensor, turns: Tensor) -> Tensor:
        z = z + self.attention(self.norms[0](z), mask=mask, angles=turns)
        return z + self.mlp(self.norms[1](z))


def _parts(word: str) -> list[str]:
    """A word in pieces of at most ``LETTERS`` bytes."""
    pieces, size = [""], 0
    for letter in word:
        size += len(letter.encode())
        if size > LETTERS:
            pieces.append("")
            size = len(letter.encode())
        pieces[-1] += letter
    return pieces

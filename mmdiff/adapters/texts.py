"""Texts to states, which a network attends to.

    Bytes         a word is the sum of its letters' embeddings, one for each place in it; then a small transformer.
                  Trained with the model, and needs nothing. In training some words that mean nothing stand among the
                  others, and the words of some texts are read each on its own
    Pretrained    a frozen encoder of somebody else: ``mmdiff.adapters.pretrained``

A text that has more tokens than ``length`` is refused, with the part that would not be read, unless ``truncate``.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.blocks import Attention
from ..nn.embeddings import angles

STEP = 16
"""States are padded to a multiple of this: a text is then read by the same arithmetic beside longer ones."""
WORD = re.compile(r"\w+|[^\w\s]")
LETTERS = 16
"""Bytes of a word; what is longer is several words."""
ALPHABET = list("abcdefghijklmnopqrstuvwxyz")
"""Of strange words."""


class Apart(str):
    """A text of which training reads each word on its own."""

    __slots__ = ()


class TextEncoder(ABC):
    """``width`` of a state; ``length``, the most tokens that are read of a text; ``truncate``, whether more are cut."""

    width: int
    length: int
    truncate: bool

    reads_words: bool = False
    """Whether ``words`` gives any."""

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

    def words(self, texts: Sequence[str], device: torch.device) -> Tensor | None:
        """States ``(B, L, width)`` of the same tokens, each read on its own; None where it has no such."""
        return None

    def varied(self, text: str, rng: np.random.Generator) -> str:
        """What training reads for a text."""
        return text

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

    With ``depth`` 0 each word is read on its own: neither its place nor what stands beside it is known. In training,
    ``strange`` is the probability that a word which means nothing, of random letters, stands before any other, and
    ``apart`` that the words of a text are read each on its own. Words that are always read together are learned as one:
    what was never said together would not be understood, nor what is said with words that no caption had.
    """

    reads_words = True

    def __init__(
        self, *, width: int = 128, depth: int = 2, heads: int = 4, length: int = 64, truncate: bool = False,
        strange: float = 0.3, apart: float = 0.5,
    ):
        super().__init__()
        if min(width, heads, length) < 1 or depth < 0 or width % (2 * heads):
            raise ValueError(f"need width a multiple of 2 heads, depth at least 0 and length at least 1, got {width}, "
                             f"{heads}, {depth} and {length}")
        if not (0 <= strange < 1 and 0 <= apart <= 1):
            raise ValueError(f"strange is a probability below 1, apart one up to 1, got {strange} and {apart}")
        self.width, self.length, self.truncate, self.heads = width, length, truncate, heads
        self.strange, self.apart = strange, apart
        self.letters = nn.Embedding(LETTERS * 256 + 1, width, padding_idx=LETTERS * 256)
        self.word = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(),
                                  nn.Linear(2 * width, width))
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        return [[part for word in WORD.findall(text) for part in _parts(word)] for text in texts]

    def varied(self, text: str, rng: np.random.Generator) -> str:
        """The text with strange words, as many as are read beside its own, as ``Apart`` where its words are to be read
        each on its own."""
        room, words = max(0, self.length - len(self.split([text])[0])), []
        for each in text.split():
            strange = self._strange(rng)[:room]
            room -= len(strange)
            words += [*strange, each]
        return (Apart if rng.random() < self.apart else str)(" ".join(words))

    def _strange(self, rng: np.random.Generator) -> list[str]:
        """Words of random letters."""
        count = rng.geometric(1 - self.strange) - 1
        return ["".join(rng.choice(ALPHABET, int(size))) for size in rng.integers(1, 10, count)]

    def words(self, texts: Sequence[str], device: torch.device) -> Tensor:
        return self.norm(self._words(texts, device)[0])

    def forward(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        words, mask = self._words(texts, device)
        z, turns = words, angles(torch.arange(words.shape[1], device=device), self.width // self.heads)
        for block in self.blocks:
            z = block(z, mask, turns)
        apart = torch.tensor([isinstance(text, Apart) for text in texts], device=device)
        return self.norm(torch.where(apart[:, None, None], words, z)), mask

    def _words(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """The words ``(B, L, width)``, each by its letters, and their mask ``(B, L)``."""
        rows = [[byte_ids(word) for word in words[: self.length]] for words in self.split(texts)]
        size = padded_length(max(map(len, rows)))
        ids = torch.tensor([row + [byte_ids("")] * (size - len(row)) for row in rows], device=device)
        return self.word(self.letters(ids).sum(2)), ids[..., 0] < LETTERS * 256

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


def byte_ids(word: str) -> list[int]:
    """The ``LETTERS`` numbers of a word's bytes, each by its place; those of no byte are the padding's."""
    ids = [i * 256 + byte for i, byte in enumerate(word.encode()[:LETTERS])]
    return ids + [LETTERS * 256] * (LETTERS - len(ids))


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

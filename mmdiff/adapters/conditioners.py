"""Labels to conditions.

    vector = sum over fields of  E_class[label]  or  W [value, cos(2 pi k value), sin(2 pi k value)],  k = 1 .. K
                             or  sum_l g_l W norm(word_l) of a text,   g = sigmoid(w norm(word) + b)
    tokens = those of all texts, one after the other:  W' norm(state_l) + b,   W' and b of their field

The words of a text's vector are read each on its own and add up as classes do, in any order, so that what was never
said together is understood; its tokens are read together. Of an encoder that knows no words alone the vector is
W mean_l norm(state_l).

A field that is not told (class -1, scalar NaN, no text) has an embedding of its own, a text one token of its own;
classifier-free guidance contrasts a condition with the one in which nothing is told.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ..core.types import Condition
from ..data.labels import TEXT, Column, Fields, Label, is_scalar, is_text, part_name
from ..nn.aligned import AlignedLinear
from ..nn.tensors import load_tensors
from .base import Conditioner
from .texts import Bytes, TextEncoder


class Labels(Conditioner):
    """Any number of classes, scalars and texts at once.

    ``drop`` is the probability that a training sample is told nothing, ``drop_each`` that, besides, any one field is
    hidden on its own: what guidance and partial requests need. ``text`` reads texts, by default their bytes.
    """

    def __init__(
        self, fields: Fields, *, dim: int = 256, drop: float = 0.1, drop_each: float = 0.0, frequencies: int = 8,
        text: TextEncoder | None = None,
    ):
        super().__init__()
        if not (0 <= drop < 1 and 0 <= drop_each < 1):
            raise ValueError(f"drop and drop_each are probabilities below 1, got {drop} and {drop_each}")
        self.fields: Fields = {name: TEXT if is_text(field) else (*field,) for name, field in fields.items()}
        self.tokens = TEXT in self.fields.values()
        if text is not None and not self.tokens:
            raise ValueError("adapter.text reads texts, and the data have none: name their columns with data.texts=, "
                             "or leave adapter/text out")
        self.text: TextEncoder | None = (text or Bytes()) if self.tokens else None
        width = self.text.width if self.text is not None else 0
        self.dim, self.drop_all, self.drop_each = (dim if fields else 0), drop, drop_each
        self.dropped = 1 - (1 - drop) * (1 - drop_each ** len(self.fields)) if self.fields else None
        self.frequencies = frequencies
        words = self.text is not None and self.text.reads_words
        self.embeddings = nn.ModuleDict({
            part_name(name): TextField(width, dim, words=words) if is_text(field)
            else AlignedLinear(2 * frequencies + 1, dim) if is_scalar(field) else nn.Embedding(len(field) + 1, dim)
            for name, field in self.fields.items()
        })
        self.untold = nn.ParameterDict({
            part_name(name): nn.Parameter(torch.randn(dim)) for name, field in self.fields.items() if is_scalar(field)
        })

    def forward(self, labels: dict[str, Column]) -> Condition:
        """Labels of every field -> ``Condition.vector`` ``(B, dim)``, and tokens ``(B, L, dim)`` where there are texts.
        """
        if not self.fields:
            return Condition()
        parts: list[Tensor] = []
        texts: list[TextRead] = []
        for name, field in self.fields.items():
            value = labels[name]
            if not isinstance(value, Tensor):
                texts.append(self._text(name, value))
                parts.append(texts[-1].vector)
            elif is_scalar(field):
                parts.append(self._scalar(name, value))
            else:                                                     # -1, not told, is the last row
                parts.append(self.embeddings[part_name(name)](value % (len(field) + 1)))
        vector = reduce(torch.add, parts)                             # in order: a part of zeros changes no bit
        if not texts:
            return Condition(vector=vector)
        tokens, mask = torch.cat([text.tokens for text in texts], 1), torch.cat([text.mask for text in texts], 1)
        return Condition(vector=vector, tokens=tokens, tokens_mask=mask)

    @torch.no_grad()
    def inherit(self, base: Conditioner) -> None:
        """As ``Conditioner.inherit``; new classes start as the mean of the base's, a new field as zero, what reads its
        texts, where the base reads none, as in any new model."""
        new_text = {key: value for key, value in self.state_dict().items() if key.startswith("text.")}
        tensors = new_text | base.state_dict()
        for name, field in self.fields.items():
            part = part_name(name)
            if name not in base.fields:
                fresh = {key: value for key, value in self.state_dict().items() if key.split(".")[1] == part}
                tensors |= {key: value if "norm" in key else torch.zeros_like(value) for key, value in fresh.items()}
            elif not (is_scalar(field) or is_text(field)) and (new := len(field) - len(base.fields[name])):
                table = tensors[key := f"embeddings.{part}.weight"]
                mean = table[:-1].mean(0, keepdim=True).expand(new, -1)
                tensors[key] = torch.cat([table[:-1], mean, table[-1:]])    # the last row is "not told"
        load_tensors(self, tensors)

    def rows(self, field: str, classes: Sequence[str]) -> dict[str, list[int]]:
        """The rows of the field's table."""
        return {f"embeddings.{part_name(field)}": [self.fields[field].index(name) for name in classes]}

    def _text(self, name: str, texts: list[str | None]) -> "TextRead":
        assert self.text is not None
        field = cast(TextField, self.embeddings[part_name(name)])
        worded, like = ["" if text is None else text for text in texts], field.untold
        states, mask = self.text(worded, like.device)
        words = self.text.words(worded, like.device)
        return field(states.to(like.dtype), mask, None if words is None else words.to(like.dtype))

    def _scalar(self, name: str, value: Tensor) -> Tensor:
        low, high = map(float, self.fields[name])
        unit = ((value - low) / ((high - low) or 1.0)).nan_to_num(0.0)          # one value alone has no range
        angle = 2 * math.pi * unit[:, None] * torch.arange(1, self.frequencies + 1, device=unit.device) / 2
        embedding = self.embeddings[part_name(name)](torch.cat([unit[:, None], angle.cos(), angle.sin()], 1))
        return torch.where(value.isnan()[:, None], self.untold[part_name(name)].to(embedding.dtype), embedding)

    def null(self, batch: int) -> Condition:
        """The condition in which no field is told."""
        device = next(self.parameters()).device if self.fields else None
        return self({name: self._absent(name, batch, device) for name in self.fields})

    def hide(self, labels: dict[str, Column], u: Tensor) -> dict[str, Column]:
        """Drop labels for training; ``u`` ``(B, 1 + fields)`` is uniform in (0, 1)."""
        hidden = {}
        for i, (name, value) in enumerate(labels.items()):
            gone = (u[:, 0] < self.drop_all) | (u[:, 1 + i] < self.drop_each)
            hidden[name] = (
                torch.where(gone.to(value.device), self._nothing(name), value) if isinstance(value, Tensor)
                else [None if hide else text for hide, text in zip(gone.tolist(), value, strict=True)]
            )
        return hidden

    def encoder(self) -> TextEncoder | None:
        return self.text

    def check(self, labels: Mapping[str, Label]) -> None:
        """Raise ``ValueError`` also for a text of which a part would not be read."""
        super().check(labels)
        for name, value in labels.items():
            if self.text is not None and is_text(self.fields[name]) and value is not None:
                try:
                    self.text.check(str(value))
                except ValueError as error:
                    raise ValueError(f"{name} has {error}") from None

    def _absent(self, name: str, batch: int, device: torch.device | None) -> Column:
        return [None] * batch if is_text(self.fields[name]) else self._nothing(name).expand(batch).to(device)

    def _nothing(self, name: str) -> Tensor:
        return torch.tensor(math.nan) if is_scalar(self.fields[name]) else torch.tensor(-1)


class TextRead(NamedTuple):
    """What B texts say: ``vector`` ``(B, D)``, ``tokens`` ``(B, L, D)`` and their ``mask`` ``(B, L)``."""

    vector: Tensor
    tokens: Tensor
    mask: Tensor


class TextField(nn.Module):
    """States ``(B, L, width)`` of texts with their mask ``(B, L)`` to tokens ``(B, L, dim)`` and a vector ``(B, dim)``,
    with ``words`` that of states of each word alone; those of a text of which all is masked, which is not told, are
    learnt."""

    def __init__(self, width: int, dim: int, *, words: bool = False):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.word_norm = nn.LayerNorm(width) if words else None
        self.gate = AlignedLinear(width, 1) if words else None
        self.token, self.vector = nn.Linear(width, dim), nn.Linear(width, dim)
        self.untold = nn.Parameter(torch.randn(2, dim))

    def forward(self, states: Tensor, mask: Tensor, words: Tensor | None = None) -> TextRead:
        states, present = self.norm(states), mask.any(1, keepdim=True)                     # (B, 1)
        first = torch.zeros_like(mask)
        first[:, 0] = True
        tokens = torch.where(present[..., None], self.token(states), self.untold[0])
        vector = torch.where(present, self._vector(states, mask, words), self.untold[1])
        return TextRead(vector, tokens, torch.where(present, mask, first))

    def _vector(self, states: Tensor, mask: Tensor, words: Tensor | None) -> Tensor:
        real = mask[..., None]
        if words is None or self.gate is None or self.word_norm is None:
            return self.vector((states * real).sum(1) / real.sum(1).clamp(min=1))
        words = self.word_norm(words)
        return (self.gate(words).sigmoid() * self.vector(words) * real).sum(1)

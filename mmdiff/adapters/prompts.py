"""How public models are told a text: the states of its tokens, up to a length, with a mask or without.

    tokens = [encoder(text), 0, 0, ...]    (B, length, width),    or of the text and its padding

No text is the text "", which has states of its own, as such models learned for guidance.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..core.types import Condition
from ..data.labels import TEXT, Column, Fields, Label, is_text
from .base import Conditioner
from .pretrained import Pretrained
from .public import PublicModel
from .texts import TextEncoder


class PromptEncoder(Pretrained):
    """The text encoder of a public model, and its tokenizer; ``length`` tokens are read of a text at most. An ``empty``
    text has states of its own, or is none.

    ``padding`` up to ``length`` is as the model learned: ``none``; ``read``, so that the states of a text are those
    that it has before padding; or ``told``, states of its own.

    It is on the device of the model only while it reads.
    """

    public_parts = ("text_encoder", "tokenizer")

    def __init__(
        self, model: PublicModel, *, length: int = 512, dtype: Literal["float16", "float32"] = "float32",
        truncate: bool = False, empty: bool = True, padding: Literal["none", "read", "told"] = "none",
        layer: int = -1,
    ):
        config, self.model = model.config("text_encoder"), model
        digest = "-".join([*(model.digest(part) for part in self.public_parts), *([padding] * (padding != "none"))])
        super().__init__(model.folder("text_encoder"), digest=digest, length=length, layer=layer, dtype=dtype,
                         truncate=truncate, width=config.get("d_model") or config["hidden_size"])
        self.empty, self.padding = empty, padding

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "model": self.model, "empty": self.empty, "padding": self.padding}

    @classmethod
    def resolve(cls, **settings: Any) -> dict[str, Any]:
        return settings

    @cached_property
    def tokenizer(self) -> Any:
        return self.loaded("AutoTokenizer", self.model.checked("tokenizer"))

    @cached_property
    def folder(self) -> Any:
        return self.model.checked("text_encoder")

    def _cut(self, ids: list[int]) -> list[int]:
        kept = super()._cut(ids)
        return kept if self.padding == "none" else kept + [self.tokenizer.pad_token_id] * (self.length - len(kept))

    def _states(self, texts: Sequence[str], device: torch.device | None = None) -> list[np.ndarray]:
        encoded = super()._states(texts, device)
        if self.padding != "read":
            return encoded
        return [states[: len(ids)] for states, ids in zip(encoded, self._ids(texts), strict=True)]


class Prompt(Conditioner):
    """One text field, as a public model is told it. ``drop`` is the share of training samples that are told nothing;
    with ``masked`` the network is told which tokens are those of the text."""

    default_fields = MappingProxyType({"caption": TEXT})
    tokens = True
    here: Tensor

    def __init__(self, fields: Fields, *, text: TextEncoder, drop: float = 0.1, masked: bool = False):
        super().__init__()
        if not 0 <= drop < 1:
            raise ValueError(f"drop is a probability below 1, got {drop}")
        if [is_text(field) for field in fields.values()] != [True]:
            raise ValueError(f"a public model is told one text, and the data tell {', '.join(fields) or 'nothing'}: "
                             "name captions by data.captions=true or data.texts=, and nothing else by data.labels=[]")
        self.fields, self.text, self.dim, self.drop_all, self.masked = dict(fields), text, text.width, drop, masked
        (self.name,) = fields
        self.register_buffer("here", torch.zeros(()), persistent=False)           # where the model is

    def forward(self, labels: dict[str, Column]) -> Condition:
        texts = [str(text or "") for text in labels[self.name]]
        states, mask = self.text(texts, self.here.device)                         # zeros behind the last token
        cond = Condition(tokens=states, tokens_mask=mask).padded(self.text.length)
        return cond if self.masked else cond._replace(tokens_mask=None)

    def null(self, batch: int) -> Condition:
        return self({self.name: [None] * batch})

    def hide(self, labels: dict[str, Column], u: Tensor) -> dict[str, Column]:
        gone = (u[:, 0] < self.drop_all).tolist()
        return {name: [None if hide else text for hide, text in zip(gone, texts, strict=True)]
                for name, texts in labels.items()}

    def encoder(self) -> TextEncoder:
        return self.text

    def check(self, labels: Mapping[str, Label]) -> None:
        """Raise ``ValueError`` also for a text of which a part would not be read."""
        super().check(labels)
        for name, value in labels.items():
            try:
                self.text.check(str(value or ""))
            except ValueError as error:
                raise ValueError(f"{name} has {error}") from None

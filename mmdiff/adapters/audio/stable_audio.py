"""Stable Audio Open (Evans et al. 2024), from a folder: what it is told, and its transformer as a network.

    tokens = [text, start, end]        vector = [start, end]          start = 0 s, end = the field ``seconds``
    v      = transformer(x_t, level)                                  x_t of unit variance, v on the cosine schedule

Its network is told exactly what networks are told here. Where the text is hidden all tokens are 0, and the vector
still tells how long a sound is: that is what its guidance contrasts with.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.parameterizations import V
from ...core.types import Condition
from ...data.labels import TEXT, Column, Fields, Label, is_scalar, is_text
from ...nn.frozen import freeze, sharing
from ...nn.inputs import CondLike
from ..base import Conditioner
from ..public import Precision, PublicModel
from ..public_network import PublicNetwork
from ..texts import TextEncoder

TRANSFORMER = "StableAudioDiTModel"
SECONDS = "seconds"
"""The field that tells how long a sound is."""


class TimedPrompt(Conditioner):
    """One text and ``seconds``: where they are not told, the longest that ``model`` makes. ``drop`` is the share of
    training samples whose text is hidden."""

    public_parts, kind = ("projection_model",), "StableAudioProjectionModel"
    default_fields = MappingProxyType({"caption": TEXT, SECONDS: (0.0, 512.0)})
    tokens = True

    def __init__(self, fields: Fields, *, model: PublicModel, text: TextEncoder, drop: float = 0.1):
        super().__init__()
        if not 0 <= drop < 1:
            raise ValueError(f"drop is a probability below 1, got {drop}")
        texts = [name for name, field in fields.items() if is_text(field)]
        seconds = SECONDS in fields and is_scalar(fields[SECONDS])
        if len(texts) != 1 or len(fields) != 1 + seconds:
            raise ValueError(f"this model is told one text and a number of {SECONDS}, and the data tell "
                             f"{', '.join(fields) or 'nothing'}: name captions by data.captions=true or data.texts=, "
                             "and nothing else by data.labels=[]")
        config = model.config(self.public_parts[0], self.kind)
        self.fields, self.text, self.drop_all, self.model = dict(fields), text, drop, model
        (self.name,), self.dim = texts, int(config["conditioning_dim"])
        self.vector_dim = 2 * self.dim
        network, codec = model.config("transformer", TRANSFORMER), model.config("vae")
        self.longest = network["sample_size"] * math.prod(codec["downsampling_ratios"]) / codec["sampling_rate"]
        self.projection: Any = sharing(model.load(self.public_parts[0], self.kind))
        freeze(self)

    def forward(self, labels: dict[str, Column]) -> Condition:
        texts, weight = labels[self.name], self.projection.start_number_conditioner.time_positional_embedding[1].weight
        end = torch.as_tensor(labels.get(SECONDS, [math.nan] * len(texts))).to(weight).nan_to_num(self.longest)
        states, mask = self.text([str(text or "") for text in texts], weight.device)
        start, end = (getattr(self.projection(**{f"{name}_seconds": value}), f"seconds_{name}_hidden_states")
                      for name, value in (("start", torch.zeros_like(end)), ("end", end)))
        states = self.projection(text_hidden_states=states).text_hidden_states * mask[..., None]
        states = F.pad(states, (0, 0, 0, self.text.length - states.shape[1]))
        present = torch.tensor([text is not None for text in texts], device=weight.device)[:, None, None]
        return Condition(tokens=present * torch.cat([states, start, end], 1), vector=torch.cat([start, end], 2)[:, 0])

    def null(self, batch: int) -> Condition:
        return self({self.name: [None] * batch})

    def contrast(
        self, labels: dict[str, Column], batch: int, away: dict[str, Column] | None = None
    ) -> Condition:
        told: dict[str, Column] = {**labels, self.name: [None] * batch if away is None else away[self.name]}
        own, other = labels.get(SECONDS), None if away is None else away.get(SECONDS)
        if isinstance(own, Tensor) and isinstance(other, Tensor):
            told[SECONDS] = torch.where(other.isnan(), own, other)
        return self(told)

    def hide(self, labels: dict[str, Column], u: Tensor) -> dict[str, Column]:
        gone = (u[:, 0] < self.drop_all).tolist()
        hidden = [None if hide else text for hide, text in zip(gone, labels[self.name], strict=True)]
        return {**labels, self.name: hidden}

    def encoder(self) -> TextEncoder:
        return self.text

    def check(self, labels: Mapping[str, Label]) -> None:
        """Raise ``ValueError`` also for a text of which a part would not be read, and a sound that is too long."""
        super().check(labels)
        if (value := labels.get(self.name)) is not None:
            try:
                self.text.check(str(value))
            except ValueError as error:
                raise ValueError(f"{self.name} has {error}") from None
        seconds = labels.get(SECONDS)
        if seconds is not None and not 0 < float(seconds) <= self.longest:
            raise ValueError(f"{SECONDS} is up to {self.longest:.4g}, as long as this model's sounds are; got "
                             f"{seconds}")


class StableAudioNetwork(PublicNetwork):
    """The transformer of Stable Audio Open."""

    kind, pipelines = TRANSFORMER, ("StableAudioPipeline",)
    puts_out, reads, task = V, "cross_attention_input_dim", "text-to-audio"
    reads_vector = True

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, tokens: bool = True, dtype: Precision = "float32"
    ):
        super().__init__(channels, cond_dim, model=model, tokens=tokens, dtype=dtype)
        self.turned, self.window = self.config["attention_head_dim"] // 2, int(self.config["sample_size"])

    def check_shape(self, shape: Sequence[int]) -> None:
        if shape[0] > self.window:
            raise ValueError(f"this transformer learned sounds of {self.window} latents, and {shape[0]} were asked "
                             "for: take fewer seconds, or make a sound longer by mode=extend")

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        tokens = self.tokens(cond, mask)
        if cond is None or cond.vector is None:
            raise ValueError("this transformer is told tokens and a vector, and the vector was not given")
        out = self.transformer(
            x.to(tokens), level.to(tokens), encoder_hidden_states=tokens,
            global_hidden_states=cond.vector[:, None].to(tokens), rotary_embedding=self._turns(x), return_dict=False,
        )[0]
        return out.to(x.dtype)

    def _turns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine ``(1 + T, D)`` of the angles of each position, the vector's the first."""
        rates = 10000.0 ** -(torch.arange(0, self.turned, 2, device=x.device, dtype=torch.float32) / self.turned)
        angles = torch.outer(torch.arange(x.shape[2] + 1, device=x.device, dtype=torch.float32), rates).repeat(1, 2)
        return angles.cos(), angles.sin()

"""ACE-Step 1.5 (ACE Studio and StepFun 2025), from a folder: what it is told, and its transformer as a network.

    tokens   = [lyrics, timbre, text] by its own encoder, of silence as the timbre; not told, each is a learned null
    eps - x0 = transformer([silence, 1, x_t], t, t, tokens),        x_t = (1 - t) x0 + t eps

Texts are worded as its pipeline words them. Its attention knows no padding, and here skips it: so a sample is the same
whatever is beside it.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.parameterizations import Difference
from ...core.types import Condition
from ...data.labels import TEXT, Column, Fields
from ...nn.frozen import freeze, sharing
from ...nn.inputs import CondLike
from ..prompts import Prompt, PromptEncoder
from ..public import Precision, PublicModel, library_class
from ..public_network import PublicNetwork, straight

REFERENCE = 30.0
"""Seconds of sound from which it takes the timbre."""
ENCODER = "condition_encoder"


class SongEncoder(PromptEncoder):
    """The text encoder of ``model``, of captions of sounds of ``seconds``; their wording names both."""

    def __init__(
        self, model: PublicModel, *, seconds: float, length: int = 256,
        dtype: Literal["float16", "float32"] = "float32", truncate: bool = False,
    ):
        super().__init__(model, length=length, dtype=dtype, truncate=truncate)
        self.seconds = seconds

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "seconds": self.seconds}

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        return super().split([_worded(text, "", self.seconds)[0] for text in texts])

    def __call__(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        return super().__call__([_worded(text, "", self.seconds)[0] for text in texts], device)


class SongPrompt(Prompt):
    """One text, and ``lyrics`` that are the same for all. ``drop`` is the share of training samples whose text is
    hidden."""

    public_parts, kind = (ENCODER,), "AceStepConditionEncoder"
    tells = MappingProxyType({"caption": TEXT})

    def __init__(
        self, fields: Fields, *, model: PublicModel, text: PromptEncoder, drop: float = 0.15, lyrics: str = ""
    ):
        super().__init__(fields, text=text, drop=drop)
        config, codec = model.config(ENCODER, self.kind), model.config("vae")
        self.dim, self.lyrics = int(config["hidden_size"]), _worded("", lyrics, None)[1]
        self.lyric = PromptEncoder(model, length=2048, layer=0)       # embeddings: what reads them is in the encoder
        self.reference = round(REFERENCE * codec["sampling_rate"] / math.prod(codec["downsampling_ratios"]))
        self.reader: Any = sharing(model.load(ENCODER, self.kind))
        freeze(self)

    def forward(self, labels: dict[str, Column]) -> Condition:
        texts = labels[self.name]
        if all(text is None for text in texts):
            return self.null(len(texts))
        states, mask = self.text([str(text or "") for text in texts], self.here.device)
        lyrics, lyrics_mask = (part.expand(len(texts), *part.shape[1:])
                               for part in self.lyric([self.lyrics], self.here.device))
        silence = self.reader.silence_latent[:, : self.reference].expand(len(texts), -1, -1)
        tokens, mask = self.reader(states, mask, lyrics, lyrics_mask, silence,
                                   torch.arange(len(texts), device=self.here.device))
        hidden = torch.tensor([text is None for text in texts], device=self.here.device)[:, None, None]
        return Condition(tokens=torch.where(hidden, self.reader.null_condition_emb, tokens), tokens_mask=mask)

    def null(self, batch: int) -> Condition:
        """As many as a text has at most: of equal tokens the number changes nothing."""
        tokens = self.reader.null_condition_emb.expand(batch, self.text.length, -1)
        return Condition(tokens=tokens, tokens_mask=tokens.new_ones(tokens.shape[:2], dtype=torch.bool))


class AceStepNetwork(PublicNetwork):
    """The transformer of ACE-Step 1.5."""

    public_parts = ("transformer", ENCODER)
    kind, pipelines = "AceStepTransformer1DModel", ("AceStepPipeline",)
    puts_out, reads, task = Difference, "encoder_hidden_size", "text-to-audio"
    widths = ("audio_acoustic_hidden_dim",)
    silence: Tensor

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, tokens: bool = True, dtype: Precision = "float32"
    ):
        super().__init__(channels, cond_dim, model=model, tokens=tokens, dtype=dtype)
        found = model.tensors(ENCODER, ("silence_latent",)) or {"silence_latent": torch.zeros(1, 1, channels)}
        self.register_buffer("silence", found["silence_latent"].float(), persistent=False)
        self._told: Tensor | None = None
        for layer in self.transformer.layers:
            layer.register_forward_pre_hook(self._masked, with_kwargs=True)

    @classmethod
    def settings(cls, model: PublicModel) -> dict[str, Any]:
        found = super().settings(model)
        return {**found, cls.reads: found.get(cls.reads) or found["hidden_size"]}

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        tokens = self.tokens(cond, mask)
        told = None if cond is None else cond.tokens_mask
        self._told = None if told is None else told[:, None, None]
        x_t, t = straight(x, level)
        time, places = t.to(tokens), torch.arange(x.shape[2], device=x.device) % self.silence.shape[1]
        silence = self.silence[:, places].to(tokens).expand(len(x), -1, -1)
        out = self.transformer(
            hidden_states=x_t.transpose(1, 2).to(tokens), timestep=time, timestep_r=time, encoder_hidden_states=tokens,
            context_latents=torch.cat([silence, torch.ones_like(silence)], 2), return_dict=False,
        )[0]
        return out.transpose(1, 2).to(x.dtype)

    def _masked(self, layer: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What a block is called with, and which tokens there are."""
        return arguments, {**named, "encoder_attention_mask": self._told}


def _worded(text: str, lyrics: str, seconds: float | None) -> tuple[str, str]:
    """A caption and lyrics as its pipeline words them for sounds of ``seconds``."""
    made = library_class("AceStepPipeline")                           # the method asks its class alone
    return made._format_prompt(made, prompt=text, lyrics=lyrics, audio_duration=seconds)


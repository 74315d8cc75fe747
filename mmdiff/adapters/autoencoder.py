"""A learned codec: an encoder and a decoder between the samples of a modality and a smaller latent.

    features = latent(encoder(x))        x = what the codec of the modality, ``base``, makes of a sample, not whitened
    sample   = base(decoder(features))   decoded alone, and in parts where it is long

``base`` knows all that is of the modality: how samples are read, saved, shown, judged and measured. Each channel of
the latent is whitened by its own deviation, unless the coder knows better.
"""

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

import torch

from ..core.types import Masked
from .base import Codec, Count
from .bottlenecks import KL, Bottleneck
from .coder import Coder
from .whitened import WhitenedCodec


class _OfBase:
    """A method of ``base``, with the parameters that it has there."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, codec: "Autoencoder | None", owner: type) -> Any:
        return self if codec is None else getattr(codec.base, self.name)

    def __call__(self, codec: "Autoencoder", *args: Any, **kwargs: Any) -> Any:
        return self.__get__(codec, type(codec))(*args, **kwargs)


class _LatentShape(_OfBase):
    """``latent_shape``, with the parameters that it has there."""

    def __get__(self, codec: "Autoencoder | None", owner: type) -> Any:
        if codec is None:
            return self
        shape = codec.base.latent_shape

        @wraps(shape)
        def latent_shape(*args: Any, **size: Any) -> tuple[int, ...]:
            return codec.coder.latent_extent(shape(*args, **size))

        return latent_shape


class Autoencoder(WhitenedCodec):
    """Samples of ``base`` <-> latents of ``latent`` channels (8, unless the coder fixes them), by ``coder`` and
    ``bottleneck``."""

    size: Any = _OfBase()
    save: Any = _OfBase()
    endings: Any = _OfBase()
    load: Any = _OfBase()
    judge: Any = _OfBase()
    preview: Any = _OfBase()
    pictures: Any = _OfBase()
    finished: Any = _OfBase()
    attacks: Any = _OfBase()
    latent_shape: Any = _LatentShape()

    def __init__(
        self, base: Codec, coder: Coder, *, latent: Count | None = None, bottleneck: Bottleneck | None = None
    ):
        if latent not in (None, coder.fixed) and coder.fixed is not None:
            raise ValueError(f"{type(coder).__name__} has latents of {coder.fixed} channels: leave latent={latent} out")
        latent = coder.fixed or latent or 8
        super().__init__(latent, groups=coder.groups(latent))
        self.bottleneck = bottleneck or KL()
        coder.check(base)
        coder.make(base.channels, latent, self.bottleneck.moments)
        self.base, self.coder, self.suffix, self.downsampling = base, coder, base.suffix, coder.stride

    @property
    def modality(self) -> Codec:
        return self.base

    @property
    def learned(self) -> bool:
        return self.coder.encodes

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.coder.facts

    @property
    def reading(self) -> dict[str, Any]:
        return self.base.reading

    def features(self, samples: Masked) -> Masked:
        with torch.autocast(samples.x.device.type, enabled=False):
            x = self.base.features(samples)
            if x.x.shape[1] != self.base.channels:
                raise ValueError(f"this codec was made for {self.base.channels} channels, and samples "
                                 f"{tuple(samples.x.shape[1:])} have {x.x.shape[1]}")
            h, mask = self.coder.encode(x)
            return Masked(self.bottleneck.latent(h.float()), mask).zeroed

    @torch.no_grad()
    def decode(self, latents: Masked) -> Masked:
        return self._decoded(latents, None)

    @torch.no_grad()
    def decode_sized(self, latents: Masked, **size: float) -> Masked:
        return self._decoded(latents, self.base.latent_shape(**size))

    def _decoded(self, latents: Masked, extent: Sequence[int] | None) -> Masked:
        with torch.autocast(latents.x.device.type, enabled=False):
            return self.base.decode(self.coder.decode(self.unwhiten(latents), extent))

    def encode_part(self, samples: Masked) -> Masked:
        """Refused: each latent tells of the whole of a sample."""
        raise ValueError("mode=complete needs points that are latents themselves, and this model's learned codec tells "
                         "of the whole shape with each: it generates, and completes nothing")

"""Mistakes that adapters have: each a class in place of a part of the toy package, and the law that it breaks."""

import os

import numpy as np
import torch
from mmdiff_toy.adapter import ToyCodec, ToyReader
from mmdiff_toy.data import ToyWaves

from mmdiff.adapters.conditioners import Labels
from mmdiff.core.types import Condition, Masked
from mmdiff.nn.dit1d import DiT1d

FAULTS = {}


def breaks(law, part, class_):
    FAULTS[class_.__name__] = (law, part)
    return class_


def codec(law):
    return lambda class_: breaks(law, "adapter.codec", class_)


def network(law):
    return lambda class_: breaks(law, "adapter.network", class_)


@codec("shapes and dtypes")
class LatentsInDouble(ToyCodec):
    def encode(self, samples):
        return Masked(super().encode(samples).x.double(), samples.mask)


@codec("shapes and dtypes")
class MoreChannelsThanTold(ToyCodec):
    def encode(self, samples):
        latent = super().encode(samples)
        return Masked(latent.x.repeat(1, 2, *[1] * (latent.x.ndim - 2)), latent.mask)


@codec("latents have zero mean and unit variance")
class NotWhitened(ToyCodec):
    def fit(self, samples):
        self.std.fill_(0.1)


@codec("decoding undoes encoding")
class DecodesTwiceAsLarge(ToyCodec):
    def decode(self, latents):
        return super().decode(Masked(2 * latents.x, latents.mask))


@codec("limits leave the data alone")
class LimitsTheData(ToyCodec):
    def limited(self, latents):
        return latents.clamp(-0.1, 0.1)


@codec("latent shape is what encode gives")
class OneTooMany(ToyCodec):
    def latent_shape(self, *, length):
        return (int(length) + 1,)


@codec("masks follow the stride")
class DropsTheMask(ToyCodec):
    def encode(self, samples):
        return Masked(super().encode(samples).x)


@codec("masks follow the stride")
class MasksEverything(ToyCodec):
    def encode(self, samples):
        latent, mask = super().encode(samples)
        return Masked(latent, None if mask is None else torch.ones_like(mask))


@codec("codec ignores padding")
class MeanOfThePadding(ToyCodec):
    def encode(self, samples):
        latent, mask = super().encode(samples)
        return Masked(latent - latent.mean(-1, keepdim=True), mask)

    def decode(self, latents):
        return super().decode(latents)


@codec("codec ignores padding")
class PaddingIsNotZero(ToyCodec):
    def decode(self, latents):
        return Masked(super().decode(Masked(latents.x)).x, latents.mask)


@codec("model file gives the model back")
class StatisticsAreNoBuffers(ToyCodec):
    def fit(self, samples):
        super().fit(samples)
        mean, std = self.mean, self.std
        del self._buffers["mean"], self._buffers["std"]
        self.mean, self.std = mean, std


@codec("saved files read back")
class SavesWholeNumbers(ToyCodec):
    def save(self, sample, path):
        return super().save(sample.round(), path)


@codec("saved files read back")
class SavesWhatItCannotRead(ToyCodec):
    suffix = ".txt"


@codec("saved files read back")
class PreviewIsNoPicture(ToyCodec):
    def preview(self, samples, titles, path):
        path.write_text("picture")
        return path


@codec("judge measures real samples")
class JudgesEachChannel(ToyCodec):
    def judge(self):
        judge = super().judge()
        judge.values = lambda x, codec: {"level": x.mean(-1)}
        return judge


@codec("judge measures real samples")
class JudgeWithoutAProtocol(ToyCodec):
    def judge(self):
        judge = super().judge()
        judge.name = "toys"
        return judge


@codec("sampling is deterministic")
class DecodesAtRandom(ToyCodec):
    def decode(self, latents):
        x, mask = super().decode(latents)
        return Masked(x * (1 + 1e-4 * torch.randn_like(x)), mask)


class RandomReads(ToyWaves):
    def read(self, index, rng=None):
        sample, labels = super().read(index, rng)
        return sample + 0.1 * float(np.random.rand()), labels


breaks("reading is repeatable and workers read the same", "data", RandomReads)


class CannotBePickled(ToyWaves):
    def __init__(self, reader, **options):
        super().__init__(reader, **options)
        self.key = lambda index: index


breaks("reading is repeatable and workers read the same", "data", CannotBePickled)


class ReadsDouble(ToyReader):
    def read(self, path, rng=None):
        return super().read(path, rng).repeat(2, 1)


breaks("saved files read back", "adapter.reader", ReadsDouble)


@network("network is zero at initialisation")
class NotZeroAtFirst(DiT1d):
    def __init__(self, channels, cond_dim, **options):
        super().__init__(channels, cond_dim, **options)
        torch.nn.init.normal_(self.out.weight)


@network("network ignores padding")
class AttendsToPadding(DiT1d):
    def forward(self, x, level, cond=None, mask=None):
        out = super().forward(x, level, cond)
        return out if mask is None else out * mask


@network("network ignores padding")
class PaddingComesOut(DiT1d):
    def forward(self, x, level, cond=None, mask=None):
        out = super().forward(x, level, cond, mask)
        return out if mask is None else torch.where(mask, out, 1.0)


@network("network keeps samples of a batch apart")
class NormalisesTheBatch(DiT1d):
    def forward(self, x, level, cond=None, mask=None):
        return super().forward(x - x.mean(0), level, cond, mask)


@network("network sees level and condition")
class IgnoresTheLevel(DiT1d):
    def forward(self, x, level, cond=None, mask=None):
        return super().forward(x, torch.zeros_like(level), cond, mask)


@network("network sees level and condition")
class IgnoresTheCondition(DiT1d):
    def forward(self, x, level, cond=None, mask=None):
        return super().forward(x, level, Condition(torch.zeros_like(cond.vector)), mask)


@network("one batch is overfitted")
class UnusedParameter(DiT1d):
    def __init__(self, channels, cond_dim, **options):
        super().__init__(channels, cond_dim, **options)
        self.spare = torch.nn.Parameter(torch.zeros(3))


@network("one batch is overfitted")
class LearnsNothing(DiT1d):
    def forward(self, x, level, cond=None, mask=None):
        out = super().forward(x, level, cond, mask)
        return out.detach() + 0 * out


class NullOfItsOwn(Labels):
    def null(self, batch):
        return Condition(torch.zeros(batch, self.dim))


breaks("null condition is that of no labels", "adapter.conditioner", NullOfItsOwn)


class HidesTheWrongWay(Labels):
    def hide(self, labels, u):
        return super().hide(labels, 1 - u)


breaks("null condition is that of no labels", "adapter.conditioner", HidesTheWrongWay)


class AnotherSetForEachProcess(ToyWaves):
    def read(self, index, rng=None):
        return super().read(index + int(os.environ.get("LOCAL_RANK", 0)), rng)

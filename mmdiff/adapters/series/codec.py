"""Series ``(C, T)`` of numbers whitened, channel by channel: what packages of others derive their codecs from."""

from pathlib import Path

from torch import Tensor

from ..attacks import Attack
from ..judge import Judge
from ..whitened import WhitenedCodec
from .attacks import attacks
from .judge import SeriesJudge
from .pictures import line_sheet


class SeriesCodec(WhitenedCodec):
    """Latents are whitened series; sizes and files are left to those that derive from it. ``rate``: positions a unit of
    the axis of pictures (Hz, for seconds)."""

    def __init__(self, channels: int, *, rate: float = 1.0):
        super().__init__(channels, groups={f"channel {i}": 1 for i in range(channels)})
        self.rate = float(rate)

    def judge(self) -> Judge:
        return SeriesJudge()

    def attacks(self) -> dict[str, Attack]:
        return attacks()

    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        return line_sheet(samples, titles, path, rate=self.rate)

"""Pictures as films of one frame, with the parts of mmdiff's video adapter."""

from pathlib import Path

from torch import Tensor

from mmdiff.adapters.base import Count
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.write import write_video


class ImageCodec(PixelCodec):
    """Samples ``(C, 1, H, W)`` in [-1, 1]."""

    suffix = ".png"

    def latent_shape(self, *, height: Count, width: Count) -> tuple[int, int, int]:
        return super().latent_shape(frames=1, height=height, width=width)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"height": sample.shape[-2], "width": sample.shape[-1]}

    def save(self, sample: Tensor, path: Path) -> Path:
        return write_video(sample, path, self.fps)

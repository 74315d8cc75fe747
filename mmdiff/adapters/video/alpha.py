"""Transparent pictures: what is shown, over a background of a named colour.

    shown = a colour + (1 - a) background          a in [0, 1]

A pixel that is transparent may be stored in any colour, which nobody is meant to see. So a model learns what is shown
and, as a fourth channel where asked, a; files get the colour back: colour = (shown - (1 - a) background) / a.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)


@lru_cache
def colour(name: str) -> Colour:
    """RGB in 0 .. 255 of a name of CSS, ``#rrggbb`` or ``rgb(...)``. Raises ``ValueError``."""
    try:
        return ImageColor.getrgb(name)[:3]
    except (ValueError, AttributeError):
        raise ValueError(f"background is the name of a colour, such as black, white or #4080ff; got {name!r}") from None


def laid(pixels: np.ndarray, background: Colour) -> NDArray[np.uint8]:
    """``(..., 4)`` uint8 of any colours -> ``(..., 3)`` as they are shown."""
    alpha = pixels[..., 3:] / 255
    return np.rint(pixels[..., :3] * alpha + (1 - alpha) * np.array(background)).astype(np.uint8)


def lifted(pixels: np.ndarray, background: Colour) -> np.ndarray:
    """``(..., 4)`` uint8 as shown -> the same with colours that give it over any background."""
    alpha = pixels[..., 3:] / 255
    colours = (pixels[..., :3] - (1 - alpha) * np.array(background)) / np.where(alpha > 0, alpha, 1)
    return np.concatenate([np.rint(colours).clip(0, 255).astype(np.uint8), pixels[..., 3:]], -1)

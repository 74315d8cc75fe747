"""How stored pictures are turned to be upright: all eight ways.

    display matrix   (x', y') = (a x + c y, b x + d y),  x to the right, y down           ISO 14496-12, 6.2.2
    EXIF             1 to 8, tag 0x0112                                                   CIPA DC-008, 4.6.4
"""

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from PIL import Image

TAG = 0x0112


class Orientation(NamedTuple):
    """Rows become columns if ``swap``; then the picture is mirrored ``up_down``, and ``left_right``."""

    swap: bool = False
    up_down: bool = False
    left_right: bool = False

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a picture after it is turned, or from that the stored one."""
        return (width, height) if self.swap else (height, width)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """``(H, W, C)`` turned, as a view."""
        picture = picture.swapaxes(0, 1) if self.swap else picture
        return picture[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


EXIF = {
    1: Orientation(), 2: Orientation(left_right=True), 3: Orientation(up_down=True, left_right=True),
    4: Orientation(up_down=True), 5: Orientation(swap=True), 6: Orientation(swap=True, left_right=True),
    7: Orientation(swap=True, up_down=True, left_right=True), 8: Orientation(swap=True, up_down=True),
}


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Files whose EXIF says how they are turned; what FFmpeg makes of it differs by format and version."""
TURNS = {0: EXIF[1], 90: EXIF[8], 180: EXIF[3], 270: EXIF[6]}
"""By degrees counter-clockwise."""


def orientation(frame: av.VideoFrame, path: Path) -> Orientation:
    """How a decoded frame of a file is turned."""
    if path.suffix.lower() in PICTURES:
        return orientation_of(path)
    try:
        found = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # stub: a bare Mapping
    except ValueError:                                                # a kind of side data that PyAV has no name for
        return TURNS[round(frame.rotation / 90) * 90 % 360]
    return Orientation() if found is None else of_matrix(np.frombuffer(bytes(found), np.int32).reshape(3, 3))


def of_matrix(matrix: np.ndarray) -> Orientation:
    """Of a display matrix ``[[a, b, u], [c, d, v], [x, y, w]]``, to the nearest right angle."""
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(b) > abs(a):
        return Orientation(True, b < 0, c < 0)
    return Orientation(False, d < 0, a < 0)


def orientation_of(path: Path) -> Orientation:
    """How a picture is turned, by its EXIF."""
    try:
        with Image.open(path) as picture:
            return EXIF.get(picture.getexif().get(TAG, 1), Orientation())
    except (OSError, SyntaxError):                                    # what Pillow says of files that are not its own
        return Orientation()

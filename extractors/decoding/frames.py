"""How decoded frames become the square frames that encoders read: scaled, rotated upright, cropped to the centre.

An encoder asks for its frames by a `Framing`: their size, and whether the sides are cropped or the frame is squashed.

Source: the published scripts scale the short side to 224, the long side to the whole pixel below, and crop the centre.
They use FFmpeg's bicubic filter, and so does the PyAV reader. Decord scales bilinearly while it decodes, which is
faster and changes features far less than an offset of one frame would.

Very long and narrow frames are cropped before they are scaled. A frame of 16384x2 pixels, scaled whole, would take
1.2 GB, of which only the centre square is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FRAME_SIZE = 224
"""Side in pixels of the square frames that most video encoders read."""

Fit = Literal["crop", "squash"]
"""How a frame becomes square: `crop` cuts out its centre, `squash` scales its sides by different factors."""

MOST_ASPECT = 16
"""Up to how many times its short side a frame may be long to be scaled whole."""

_KEPT_ASPECT = 2  # of a longer one: the square and what a scaling filter looks at beside it


@dataclass(frozen=True)
class Framing:
    """The square frames that an encoder reads.

    Attributes:
        size: their side in pixels.
        fit: how a frame becomes square.
    """

    size: int = FRAME_SIZE
    fit: Fit = "crop"


@dataclass(frozen=True)
class Geometry:
    """Scaling and cutting of one video's frames.

    Attributes:
        width, height: pixels a stored frame is scaled to, before it is turned.
        quarter_turns: quarter turns counter-clockwise that bring a stored frame upright.
        size: side of the square that is cut out.
    """

    width: int
    height: int
    quarter_turns: int
    size: int

    @classmethod
    def fit(cls, width: int, height: int, *, quarter_turns: int, framing: Framing) -> Geometry:
        """Scale a stored frame to a framing.

        To be cropped, its short side is scaled to the size, the long one in proportion, to the whole pixel below. Of a
        frame that is longer than `MOST_ASPECT`, only the part that `centre_part` keeps is scaled.
        """
        size = framing.size
        if framing.fit == "squash":
            return cls(size, size, quarter_turns, size)
        _, _, width, height = centre_part(width, height)
        if width > height:
            return cls(max(width * size // height, size), size, quarter_turns, size)
        return cls(size, max(height * size // width, size), quarter_turns, size)

    def upright_square(self, scaled: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the centre square out of a scaled frame and turn it upright.

        Args:
            scaled: (height, width, 3) RGB.

        Returns:
            (size, size, 3) RGB, a copy.
        """
        upright = np.rot90(scaled, self.quarter_turns)
        top = (upright.shape[0] - self.size) // 2
        left = (upright.shape[1] - self.size) // 2
        return np.ascontiguousarray(upright[top : top + self.size, left : left + self.size])


def is_elongated(width: int, height: int) -> bool:
    """Whether frames of this size, in pixels, are too long and narrow to be scaled whole."""
    return max(width, height) > MOST_ASPECT * min(width, height)


def centre_part(width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a frame that is scaled: all of it, or the middle of one that is elongated.

    Args:
        width, height: pixels of the frame.

    Returns:
        left, top, width and height in pixels.
    """
    if not is_elongated(width, height):
        return 0, 0, width, height
    kept = _KEPT_ASPECT * min(width, height)
    kept_width, kept_height = min(width, kept), min(height, kept)
    return (width - kept_width) // 2, (height - kept_height) // 2, kept_width, kept_height

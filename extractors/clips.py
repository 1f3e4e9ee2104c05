"""The clip grid: which moments of a video an encoder looks at, and how many clips there are.

Every conversion between seconds, clips and frames of the feature pipeline is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SamplingKind = Literal["center_frame", "slowfast"]


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video an encoder wants.

    Attributes:
        kind: `center_frame`, one frame at the middle of each clip (CLIP and other image encoders);
            `slowfast`, the 32 frames of each clip that SlowFast 8x8 reads.
        clip_length_s: seconds a clip.
    """

    kind: SamplingKind
    clip_length_s: float

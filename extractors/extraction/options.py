"""How an extraction is done, made once and passed on whole."""

from __future__ import annotations

from dataclasses import dataclass

from extractors.decoding.clip_reader import DecodingOptions
from extractors.decoding.subprocess_reader import STALL_S
from extractors.places import Place
from extractors.storage import SCRATCH_BYTES


@dataclass(frozen=True)
class ExtractionOptions(DecodingOptions):
    """How features are extracted; besides the options of decoding:

    Attributes:
        overwrite: extract even what is cached.
        stall_s: decode in a subprocess, which a hostile file can crash or hang without harm, and give up on a video
            after this many seconds without progress; None decodes in this process.
        output: a folder, here or in object storage, to which features are also written in the published layout as each
            video is finished. In object storage, what is there already is not made again.
        scratch_bytes: room on this machine for videos in object storage while they are read; one always fits.
        objects_ahead: how many videos in object storage are looked up or downloaded before their turn.
    """

    first_chunk_s: float | None = 4.0  # the encoders wait for it
    overwrite: bool = False
    stall_s: float | None = STALL_S
    output: Place | None = None
    scratch_bytes: int = SCRATCH_BYTES
    objects_ahead: int = 4

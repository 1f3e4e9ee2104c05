"""What is said and written in the videos of a server, as its page shows it."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vtg_cli.drawing.cue_tracks import cue_tracks
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.library.library import Video

if TYPE_CHECKING:
    from model import CueGrounder


class CueReading:
    """Reads the cues of one video after another; to be used from one event loop.

    Links beside a video are not followed, as they may lead to files that are not offered.

    Args:
        choice: names the cache.
    """

    def __init__(self, choice: ModelArguments) -> None:
        self._choice = choice
        self._turn = asyncio.Lock()

    async def tracks(self, video: Video) -> list[dict[str, Any]]:
        """The tracks of a video, as of `cue_tracks`; those that cost nothing, as of `CueGrounder.at_hand`.

        Raises:
            NotThere: if its file has gone.
            VideoError: if it cannot be read.
        """
        async with self._turn:
            return await asyncio.to_thread(self._read, video)

    def _read(self, video: Video) -> list[dict[str, Any]]:
        video.check_file()
        return cue_tracks(self._grounder.at_hand(video.path))

    @cached_property
    def _grounder(self) -> CueGrounder:
        from model import CueGrounder

        return CueGrounder.for_server(self._choice.feature_cache())

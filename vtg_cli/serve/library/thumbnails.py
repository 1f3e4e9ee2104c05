"""Thumbnails of the library's videos: made in a subprocess, several per pass over a video, and kept in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

from vtg_cli.serve.library.library import Video
from vtg_cli.serve.sandbox import Sandbox, WorkFailed
from vtg_cli.serve.sandbox_worker import DrawThumbnails

Size = Literal["small", "large"]

LARGEST: Mapping[Size, int] = {"small": 320, "large": 960}
"""Pixels of either side at most."""

_KEPT_BYTES = 32 << 20
_AT_ONCE = 32

_Waiting = dict[float, "asyncio.Future[bytes | WorkFailed]"]


class Thumbnails:
    """JPEGs by video and instant; to be used from one event loop.

    While one pass through a video is under way, requests for more of it, of one size, gather and share the next.

    Args:
        sandbox: draws them.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._kept: OrderedDict[tuple[str, Size, float], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._wanted: dict[tuple[Video, Size], _Waiting] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, video: Video, at_s: float, size: Size = "small") -> bytes:
        """The picture on screen at an instant.

        Args:
            video: whose picture.
            at_s: seconds from its start; behind its end means the end.
            size: how large, by `LARGEST`; a large one has no more pixels than the video.

        Raises:
            NotThere: if its file has gone, even while the picture was waited for.
            WorkFailed: if the video cannot be decoded.
        """
        at_s = round(min(at_s, video.duration_s), 2)
        if (kept := self._kept.get((video.id, size, at_s))) is not None:
            self._kept.move_to_end((video.id, size, at_s))
            return kept
        of_video = self._wanted.setdefault((video, size), {})
        if at_s not in of_video:
            of_video[at_s] = asyncio.get_running_loop().create_future()
        waiting = of_video[at_s]
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._draw())
        answer = await asyncio.shield(waiting)  # others may wait for it too
        if isinstance(answer, WorkFailed):
            # A file that was removed meanwhile fails to decode, too, but is not a broken video.
            await asyncio.to_thread(video.check_file)
            raise answer
        return answer

    async def _draw(self) -> None:
        while self._wanted:
            video, size = next(iter(self._wanted))
            waiting = self._wanted.pop((video, size))
            now = dict(list(waiting.items())[:_AT_ONCE])
            if len(now) < len(waiting):
                self._wanted[video, size] = {at_s: waiting[at_s] for at_s in waiting if at_s not in now}
            try:
                task = DrawThumbnails(video.path, tuple(now), _height(video, size), LARGEST[size])
                pictures = (await self._sandbox.run(task)).jpegs
                if len(pictures) < len(now):
                    raise WorkFailed("not every picture could be drawn")
                for (at_s, future), picture in zip(now.items(), pictures, strict=True):
                    self._keep((video.id, size, at_s), picture)
                    future.set_result(picture)
            except WorkFailed as error:
                for future in now.values():
                    future.set_result(error)

    def _keep(self, key: tuple[str, Size, float], picture: bytes) -> None:
        self._kept[key] = picture
        self._kept_bytes += len(picture)
        while self._kept_bytes > _KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _height(video: Video, size: Size) -> int:
    """Pixels that make the longer side as long as wanted."""
    longer = min(LARGEST[size], max(LARGEST["small"], video.width, video.height))
    return max(round(longer * min(video.height / max(video.width, 1), 1.0)), 1)

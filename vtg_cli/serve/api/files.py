"""Files over HTTP: ranges of a video, names of downloads, and media types that do not depend on the system."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from vtg_cli.serve.library.library import Video

_BLOCK = 256 * 1024
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)

_VIDEO_TYPES: Mapping[str, str] = {
    ".3gp": "video/3gpp",
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".m2ts": "video/mp2t",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".ogv": "video/ogg",
    ".ts": "video/mp2t",
    ".vob": "video/mpeg",
    ".webm": "video/webm",
    ".wmv": "video/x-ms-wmv",
}


class Unsatisfiable(Exception):
    """A range begins behind the end of the file."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for.

    Args:
        header: its value, if there is one.
        size: bytes of the file.

    Returns:
        first byte and the one behind the last; None for the whole file, which a server may always send, as it does here
        where several ranges or something else is asked for.

    Raises:
        Unsatisfiable: if it begins behind the end.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise Unsatisfiable
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise Unsatisfiable
    return int(first), min(int(last) + 1, size) if last else size


def video_type(path: Path) -> str:
    """The media type of a video file by its ending; never one that a browser would run."""
    return _VIDEO_TYPES.get(path.suffix.lower(), "application/octet-stream")


def attachment(name: str) -> str:
    """A Content-Disposition that saves a file under a name, whatever letters it has."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def video_response(
    video: Video, file: BinaryIO, size: int, headers: Mapping[str, str], *, with_body: bool
) -> Response:
    """A video's bytes, those that were asked for.

    Args:
        video: whose bytes.
        file: its file, which is closed afterwards.
        size: bytes of it.
        headers: those of the request.
        with_body: whether the bytes are sent, or only what would be said of them.
    """
    # Tells a file that was edited or replaced from the one that was there before.
    tag = f'"{os.fstat(file.fileno()).st_mtime_ns:x}-{size:x}"'
    common = {"accept-ranges": "bytes", "etag": tag, "cache-control": "private, no-cache"}
    if tag in headers.get("if-none-match", ""):
        file.close()
        return Response(status_code=304, headers=common)
    asked_for = headers.get("range") if headers.get("if-range", tag) == tag else None
    try:
        part = parse_range(asked_for, size)
    except Unsatisfiable:
        file.close()
        return JSONResponse(
            {"error": f"the file has {size} bytes, and the range begins behind them"},
            416,
            headers={**common, "content-range": f"bytes */{size}"},
        )
    start, end = part or (0, size)
    if part is not None:
        common["content-range"] = f"bytes {start}-{end - 1}/{size}"
    common["content-length"] = str(end - start)
    status, kind = (200 if part is None else 206), video_type(video.path)
    if not with_body:
        file.close()
        return Response(status_code=status, headers=common, media_type=kind)
    return _FileResponse(file, start, end, status_code=status, headers=common, media_type=kind)


class _FileResponse(StreamingResponse):
    """Sends part of an open file, and closes it even if the client leaves early.

    Starlette's own `FileResponse` opens the file by its path once more, so it may send another file than the one that
    was checked; and it sends a file that has become shorter as if it were whole.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, **options: Any) -> None:
        super().__init__(_blocks(file, start, end), **options)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


async def _blocks(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, start)
    while start < end:
        block = await asyncio.to_thread(file.read, min(_BLOCK, end - start))
        if not block:
            # The file has become shorter; the connection is cut, so that nobody takes the part for the whole.
            raise ConnectionError("the file became shorter while it was sent")
        start += len(block)
        yield block

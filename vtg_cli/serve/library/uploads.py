"""Uploads: a body of any size streamed to disk, counted, hashed, checked, and kept or deleted."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from extractors.errors import VtgError
from extractors.files.identity import new_content_hash
from vtg_cli.serve.library.library import Library, Video

if TYPE_CHECKING:
    from hashlib import _Hash

STALL_S = 60.0
"""Seconds after which a sender that sends nothing is given up."""

_BLOCK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TooLarge(VtgError):
    """More bytes than an upload may have."""


class TooSlow(VtgError):
    """Nothing came for too long."""


class DiskFull(VtgError):
    """The library's disk has no room."""


async def receive(
    chunks: AsyncIterator[bytes],
    name: str,
    library: Library,
    *,
    most_bytes: int,
    stated_bytes: int | None = None,
) -> tuple[Video, bool]:
    """Store a body as a video.

    Args:
        chunks: the body as it comes.
        name: what the sender calls it.
        library: where it goes.
        most_bytes: bytes it may have.
        stated_bytes: how many the sender says there are, if it does.

    Returns:
        the video, and whether it is new.

    Raises:
        TooLarge, TooSlow, DiskFull: if it cannot be stored.
        VideoError: if it is not a video that can be read.
    """
    limit = f"the upload is larger than {most_bytes / 1e6:g} MB; raise --max-upload-mb, or cut the video"
    if stated_bytes is not None and stated_bytes > most_bytes:
        raise TooLarge(limit)
    # Under the name that the library sweeps after a crash.
    temporary = library.folder / f".upload.{secrets.token_hex(8)}.tmp"
    try:
        if stated_bytes is not None and stated_bytes > shutil.disk_usage(library.folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with temporary.open("xb", buffering=0) as file:
            content = await _write(chunks, file, most_bytes, limit)
            await asyncio.to_thread(os.fsync, file.fileno())
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(library.intake, library.adopt, temporary, name, content)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                "the disk of the library is full; delete some uploads, or name another --library"
            ) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


async def _write(chunks: AsyncIterator[bytes], file: BinaryIO, most_bytes: int, limit: str) -> str:
    """Write all chunks; returns the hash of their bytes."""
    digest = new_content_hash()
    count = 0
    held = bytearray()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), STALL_S)
        except StopAsyncIteration:
            break
        except asyncio.TimeoutError as error:
            raise TooSlow(f"nothing came for {STALL_S:g} s; upload it again") from error
        count += len(chunk)
        if count > most_bytes:
            raise TooLarge(limit)
        held += chunk
        if len(held) >= _BLOCK:
            await asyncio.to_thread(_write_all, file, bytes(held), digest)
            held.clear()
    await asyncio.to_thread(_write_all, file, bytes(held), digest)
    return digest.hexdigest()


def _write_all(file: BinaryIO, data: bytes, digest: _Hash) -> None:
    digest.update(data)
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

"""The type of a file from its first bytes: playlists, which name other files, and the formats that decord reads."""

from __future__ import annotations

import codecs

HEAD_BYTES = 64
"""How much of the beginning of a file is looked at."""

_PLAYLISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"[reference]", b"<asx", b"<smil", b"<mpd", b"rtsptext")
_FIRST_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))


def is_playlist(head: bytes) -> bool:
    """Whether a file that begins like this is a list of other files.

    Args:
        head: its first `HEAD_BYTES` bytes.
    """
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return text.startswith(_PLAYLISTS)


def indexed_format(head: bytes) -> str:
    """The format with an index that a file begins as, by FFmpeg's name: `mov`, `matroska` or `avi`; otherwise empty.

    Args:
        head: its first `HEAD_BYTES` bytes.
    """
    if head[4:8] in _FIRST_BOXES:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    return ""

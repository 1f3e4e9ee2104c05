"""The subprocess of `isolation`: decodes what standard input asks for, and writes messages to standard output.

A message is the length of its header (4 bytes), the header (JSON), and the bytes of the arrays that it describes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from extractors import child
from extractors.decoding import ffmpeg_log, pulse
from extractors.decoding.clip_reader import ClipReader
from extractors.decoding.grid import Sampling
from extractors.errors import VideoError


def main() -> None:
    """Serve requests from standard input until it ends."""
    ffmpeg_log.keep()
    out = child.begin(dies_with_thread=True)
    pulse.on_beat(lambda: _send(out, {"kind": "reading"}))
    with suppress(BrokenPipeError):  # the parent has gone
        for line in sys.stdin:
            _serve(json.loads(line), out)


def _serve(request: dict[str, Any], out: BinaryIO) -> None:
    try:
        samplings = [Sampling(**sampling) for sampling in request["samplings"]]
        with ClipReader(
            request["path"],
            samplings,
            chunk_s=request["chunk_s"],
            first_chunk_s=request["first_chunk_s"],
            decoder=request["decoder"],
        ) as reader:
            info = {**asdict(reader.info), "path": str(reader.info.path)}
            _send(out, {"kind": "opened", "info": info, "clip_counts": list(reader.clip_counts)})
            for chunk in reader:
                header = {"kind": "chunk", "start_clip": list(chunk.start_clip)}
                _send(out, header, [chunk.frames, *chunk.rows])
            _send(out, {"kind": "ended", "damaged_s": reader.damaged_s})
    except VideoError as error:
        _send(out, {"kind": "failed", "reason": error.reason})
    except MemoryError:
        _send(out, {"kind": "failed", "reason": "out of memory while decoding"})
    except OSError as error:
        _send(out, {"kind": "failed", "reason": f"cannot be read: {error.strerror or error}"})
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Where a file makes the decoders' own assumptions fail.
        reason = str(error).strip().partition("\n")[0]
        _send(
            out, {"kind": "failed", "reason": f"cannot be decoded ({type(error).__name__}: {reason[:120]})"}
        )


def _send(out: BinaryIO, header: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    text = json.dumps({**header, "arrays": [[array.dtype.str, *array.shape] for array in arrays]}).encode()
    out.write(len(text).to_bytes(4, "little") + text)
    for array in arrays:
        out.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    out.flush()


if __name__ == "__main__":
    main()

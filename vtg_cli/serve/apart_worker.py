"""The child process of `apart`: probes videos, draws thumbnails, writes results in the formats there are."""

from __future__ import annotations

import io
import json
import math
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from extractors.child import begin
from extractors.errors import VideoError, VtgError


def main() -> None:
    """Serve requests from standard input until it ends."""
    out = begin(dies_with_thread=True)
    with suppress(BrokenPipeError):  # the parent has gone
        for line in sys.stdin:
            ok, answer = _do(json.loads(line))
            out.write(json.dumps({"ok": ok, "bytes": len(answer)}).encode() + b"\n" + answer)
            out.flush()


def probe(path: str) -> bytes:
    """What a video holds, as JSON: `VideoInfo` without its path."""
    from extractors.decoding.clip_reader import probe as probe_video

    info = asdict(probe_video(path))
    info.pop("path")
    return json.dumps(info).encode()


def thumbnails(path: str, instants_s: Sequence[float], height: int, largest: int) -> bytes:
    """JPEGs of a few instants, one after another, each behind its length in 4 bytes.

    Args:
        path: the video.
        instants_s: seconds from its start.
        height: pixels to decode to.
        largest: pixels of either side at most.
    """
    from PIL import Image

    from extractors.decoding.thumbnails import read_thumbnails

    answer = io.BytesIO()
    for picture in read_thumbnails(path, instants_s, height=height):
        image = Image.fromarray(picture)
        image.thumbnail((largest, largest))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=80)
        answer.write(jpeg.tell().to_bytes(4, "little") + jpeg.getvalue())
    return answer.getvalue()


def export(results: Sequence[Mapping[str, Any]], form: str, path: str, name: str, rename: bool) -> bytes:
    """Results written in a format.

    Args:
        results: fields of `GroundingResult`s.
        form: name of the format.
        path: the video, where a format counts its frames.
        name: what the video is called to people.
        rename: whether timelines say that name alone where they would say the path.
    """
    from model.grounding.results import GroundingResult, Moment, Saliency
    from vtg_cli.writers.formats import require_format, write_output

    written = require_format(form)
    answers = [
        GroundingResult(
            **{
                **fields,
                "video": path if written.counts_frames else name,
                "features": tuple(fields["features"]),
                "moments": tuple(Moment(**moment) for moment in fields["moments"]),
                "saliency": Saliency(**fields["saliency"]),
                "damaged_s": tuple(map(tuple, fields["damaged_s"])),
            }
        )
        for fields in results
    ]
    with tempfile.TemporaryDirectory(prefix="vtg-export-") as folder:
        target = Path(folder, "results")
        try:
            write_output(answers, str(target), written)
        except VtgError as error:
            raise VtgError(str(error).replace(path, name)) from error
        data = target.read_bytes()
    if not (written.counts_frames and rename):
        return data
    return _renamed(data.decode(), written.quote, Path(path), name).encode()


def _renamed(text: str, quoted: Callable[[str], str], path: Path, name: str) -> str:
    """The text with a file's name in place of its path; an upload's own name is 32 digits, like nothing else."""
    from urllib.parse import quote

    text = text.replace(path.resolve().as_uri(), quote(name))
    return text.replace(path.name, quoted(name)) if path.name != name else text


_TASKS: Mapping[str, Callable[..., bytes]] = {"probe": probe, "thumbnails": thumbnails, "export": export}


def _do(request: dict[str, Any]) -> tuple[bool, bytes]:
    limit_s = request.pop("limit_s")
    if hasattr(signal, "alarm"):  # not on Windows
        # The parent stops what takes too long; where it was killed and this process lives on, an alarm does.
        signal.alarm(math.ceil(limit_s) + 1)
    try:
        return True, _TASKS[request.pop("task")](**request)
    except VideoError as error:
        return False, error.reason.encode(errors="replace")
    except VtgError as error:
        return False, str(error).encode(errors="replace")
    except MemoryError:
        return False, b"out of memory while reading it"
    except OSError as error:
        return False, f"cannot be read: {error.strerror or error}".encode(errors="replace")
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    main()

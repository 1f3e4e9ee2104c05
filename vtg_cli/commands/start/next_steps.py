"""What `vtg` alone suggests: three commands that fit what is in the folder and on the machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vtg_cli.terminal.console import counted, one_line, out

_MOST_ENTRIES = 2000  # of the folder that are looked at: nobody should wait for a hint
_STEPS = 3
_CLIP = "clip-vit-b-32"


@dataclass(frozen=True)
class Step:
    """A command to try, and what it does."""

    command: str
    purpose: str


def next_steps(folder: Path) -> list[Step]:
    """The three commands to try next.

    Args:
        folder: where videos are looked for, without its subfolders.
    """
    return list(islice(_steps(folder), _STEPS))


def show(folder: Path) -> None:
    """Print what to try next."""
    console = out()
    console.print("vtg finds the moments in a video that match a sentence. Try:\n", markup=False)
    for step in next_steps(folder):
        console.print(f"  {step.command}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"      {step.purpose}", markup=False, highlight=False, style="dim")
    console.print("\nvtg -h lists all commands, and vtg --install-completion completes them.", markup=False)


def _steps(folder: Path) -> Iterator[Step]:
    from extractors.weights.store import artefact, find

    videos = _videos_in(folder)
    if videos:
        yield Step(f'vtg ground {_quoted(videos[0])} "a dog"', "when is there a dog in this video?")
    else:
        yield Step("vtg demo", "three things found in an example video, without a download")
    if len(videos) > 1:
        yield Step('vtg search "a dog" .', f"in which of these {counted(len(videos), 'video')}, and when?")
    if find(_CLIP) is None:
        yield Step(
            f"vtg weights pull {_CLIP}",
            f"see people, actions and attributes, too ({artefact(_CLIP).size_text})",
        )
    yield Step("vtg serve ." if videos else "vtg serve", "the same on a local web page")
    yield Step("vtg doctor", "what is installed, and what is missing")


def _videos_in(folder: Path) -> list[str]:
    from extractors.extraction.collect import is_video_name

    names = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _MOST_ENTRIES):
            with suppress(OSError):
                if is_video_name(entry.name) and entry.is_file():
                    names.append(entry.name)
    return sorted(names)


def _quoted(name: str) -> str:
    # A name that begins with a dash would be taken for an option.
    return shlex.quote(one_line(f"./{name}" if name.startswith("-") else name))

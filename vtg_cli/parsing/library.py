"""The options and arguments of libraries: which one, which of its videos, and what is looked for."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractors.errors import UsageError
from vtg_cli.parsing import values
from vtg_cli.parsing.options import ModelArguments, path_option
from vtg_cli.parsing.values import exists, path_text

if TYPE_CHECKING:
    from model.grounding.grounder import Grounder
    from model.search.filters import Filters
    from model.search.library import Library

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_UNIT_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def _time(value: Any) -> float:
    """Reads a --newer: an age such as 7d, or a date; returns seconds of `time.time`."""
    text = str(value).strip()
    if match := _AGE.fullmatch(text):
        return time.time() - float(match[1]) * _UNIT_S[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"--newer {value}: must be an age such as 30m, 12h, 7d or 4w, or a date such as 2026-01-31"
        ) from None


@dataclass(frozen=True)
class LibraryArguments:
    """Which library is meant."""

    library: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            parser=values.place_text("--library"),
            help="The library: its name, or a folder for its index files, with a slash in it; or the address of one in "
            "object storage, which many machines share.",
            show_default="the library named default",
        ),
    ] = None

    def open(
        self,
        choice: ModelArguments | None = None,
        *,
        on_download: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Library:
        """The library, which answers with what is chosen.

        Raises:
            UsageError: if it can be neither a name nor a folder.
        """
        from model.search.library import Library

        chosen = ModelArguments() if choice is None else choice

        def load(model: str, *, features: str, fps: float | None) -> Grounder:
            wanted = replace(chosen, model=model, features=features, fps=fps)
            return wanted.load(on_event=lambda event: None, on_download=on_download)

        return Library.open(
            self.library, model=chosen.model, features=chosen.features, fps=chosen.fps, load=load
        )


@dataclass(frozen=True)
class FilterArguments:
    """Which videos of a library are searched."""

    PANEL = "Videos"

    inside: Annotated[
        list[Path] | None,
        path_option(
            "--in",
            metavar="FOLDER",
            help="Only videos in this folder or its subfolders; can be given several times.",
            existing=True,
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Only videos whose file names match, such as 'talk*.mp4'; with a slash, whose paths do.",
        ),
    ] = None
    newer: Annotated[
        float | None,
        typer.Option(
            metavar="AGE|DATE",
            parser=_time,
            help="Only videos that were last changed since then: 12h, 7d, 4w, or 2026-01-31.",
        ),
    ] = None
    longer: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--longer", least=0, most=1e7),
            help="Only videos of at least this length.",
        ),
    ] = None

    def filters(self, paths: Sequence[Path] = ()) -> Filters:
        """The conditions, and that videos are among the paths or in them, if there are any."""
        from model.search.filters import Filters, absolute

        inside = tuple(map(absolute, self.inside or ()))
        named = tuple(map(absolute, paths))
        return Filters(
            inside=inside, among=named, name=self.name, newer_than_s=self.newer, longer_than_s=self.longer
        )


def paths_and_queries(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Sort arguments: those that name existing files or folders are paths, the others are queries.

    Patterns such as `*.mp4` that the shell left alone stand for the videos they match.

    Returns:
        both in the order given.

    Raises:
        UsageError: if an argument is an address, or the name of a video or folder that does not exist.
    """
    paths: list[Path] = []
    queries: list[str] = []
    for argument in arguments:
        found = _paths_named(argument)
        if found is None:
            queries.append(argument)
        else:
            paths += found
    return paths, queries


def _paths_named(argument: str) -> list[Path] | None:
    """What a path among the arguments stands for; None if it is a query."""
    from extractors.extraction.collect import VIDEO_SUFFIXES

    if argument == "-":
        raise UsageError("-: is not a sentence; to read them from standard input: --queries -")
    if not argument.strip():
        return None
    path_text("PATH")(argument)
    place = Path(argument)
    if exists(place):
        return [place]
    if place.suffix.lower() in VIDEO_SUFFIXES:
        matches = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []  # noqa: PTH207
        if not matches:
            raise UsageError(
                f"{argument}: {'matches no video' if glob.has_magic(argument) else 'does not exist'}"
            )
        return [Path(match) for match in matches]
    if argument.endswith(("/", "\\")):
        raise UsageError(f"{argument}: does not exist")
    return None

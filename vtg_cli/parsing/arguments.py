"""The arguments of `vtg ground`: videos, or sentences to look for in them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError, VtgError, reason_of
from extractors.places import Address, Place, place_of
from vtg_cli.parsing import values
from vtg_cli.parsing.values import exists, place_text
from vtg_cli.terminal.console import note

if TYPE_CHECKING:
    from extractors.cues.cue import Transcript
    from model import CueGrounder, Grounder
    from model.grounding.encoded import EncodedVideo
    from model.grounding.results import GroundingResult

STDIN = "-"
"""The --queries that are read from standard input."""

_MOST_BYTES = 10_000_000  # of a file of sentences; a larger file is something else
_EXAMPLE = 'vtg ground video.mp4 "man opens fridge"'


@dataclass(frozen=True)
class SearchArguments:
    """What is looked for, beside the queries named as arguments, and which moments are an answer."""

    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            parser=values.path_text("--queries"),
            help="Read more sentences from a file, one per line, or from standard input if -.",
        ),
    ] = None
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            "-k",
            metavar="N",
            parser=values.whole_number("--top-k", least=1),
            help="Maximum moments per query.",
        ),
    ] = 5
    threshold: Annotated[
        float,
        typer.Option(
            metavar="SCORE",
            parser=values.number("--threshold", least=0, most=1),
            help="Leave out moments with a lower score, from 0 to 1.",
        ),
    ] = 0.0
    only_clear: Annotated[
        bool,
        typer.Option(
            "--only-clear",
            help="Leave out moments that do not clearly match. If none is left, the exit code is 3.",
        ),
    ] = False

    def ground(
        self, grounder: Grounder, video: EncodedVideo | Path, queries: Sequence[str]
    ) -> list[GroundingResult]:
        """Answer queries on a video with the moments that are asked for.

        Raises:
            UsageError: if only clear matches are wanted, but the model's scores only rank moments.
            VideoError, VtgError: as `Grounder.ground`.
        """
        self.check(grounder)
        results = grounder.ground(video, queries, top_k=self.top_k, threshold=self.threshold)
        return [result.clear() for result in results] if self.only_clear else results

    def ground_joined(
        self,
        grounder: Grounder,
        video: EncodedVideo,
        queries: Sequence[str],
        cue_grounder: CueGrounder,
        words: Sequence[Transcript],
        on_cues: Callable[[int, int], None],
    ) -> list[GroundingResult]:
        """The same from the pictures of a video and from its words; raises as `ground` and `CueGrounder.join`."""
        self.check(grounder)
        seen = grounder.ground(video, queries, top_k=self.top_k)
        results = cue_grounder.join(seen, words, top_k=self.top_k, threshold=self.threshold, on_cues=on_cues)
        return [result.clear() for result in results] if self.only_clear else results

    def check(self, grounder: Grounder) -> None:
        """Raise UsageError if only clear matches are wanted, but the model's scores only rank moments."""
        from model.grounding.grounder import require_clear_scores

        if self.only_clear:
            require_clear_scores(grounder.model)

    def all_queries(self, named: Sequence[str], *, may_be_none: bool = False) -> list[str]:
        """The queries named as arguments, and those of --queries after them.

        Args:
            named: those that are arguments.
            may_be_none: whether something else is asked.

        Raises:
            UsageError: if there is none, one cannot be asked, or --queries holds none.
            VtgError: if --queries cannot be read.
        """
        if len(named) > 1 and all(word.isascii() and word.isalpha() for word in named):
            note(f'these are {len(named)} queries of one word; as one query: "{" ".join(named)}"')
        queries = [*named, *(() if self.queries is None else read_queries(self.queries))]
        if queries or not may_be_none:
            require_queries(queries)
        return queries


def videos_and_queries(arguments: Sequence[str]) -> tuple[list[Place], list[str]]:
    """Sort arguments: those that name video files or objects in object storage are videos, the others are queries.

    A file whose name has no video's ending is a video only as the first argument. Patterns such as `*.mp4` that the
    shell left alone stand for the videos they match.

    Returns:
        the videos, each once, and the queries, both in the order given.

    Raises:
        UsageError: if an argument is a folder, another file, an address, or a video that does not exist.
    """
    videos: dict[str, Place] = {}
    queries = []
    for number, argument in enumerate(arguments):
        found = _videos_named(argument, is_first=number == 0)
        for video in found or ():
            # resolve() would merge links
            known = str(video) if isinstance(video, Address) else os.path.abspath(video)  # noqa: PTH100
            videos.setdefault(known, video)
        if found is None:
            queries.append(argument)
    return list(videos.values()), queries


def require_videos(videos: Sequence[Place], arguments: Sequence[str]) -> None:
    """Raise UsageError if there is no video among the arguments."""
    if videos:
        return
    if len(arguments) > 1:
        raise UsageError(f"{arguments[0]}: no such video; name a video before the query: {_EXAMPLE}")
    raise UsageError(f"name a video and what to look for: {_EXAMPLE}")


def read_queries(source: str) -> list[str]:
    """Read queries, one per line; blank lines are skipped.

    Args:
        source: a file of UTF-8 text, or `-` for standard input.

    Raises:
        UsageError: if it does not exist, or there is no query in it.
        VtgError: if it cannot be read, or is not text.
    """
    if source != STDIN and not exists(Path(source)):
        raise UsageError(f"--queries {source}: does not exist")
    try:
        if source == STDIN:
            data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin is not None else b""
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise VtgError(
                f"--queries {source}: is larger than {_MOST_BYTES / 1e6:.0f} MB; give one sentence per line"
            )
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise VtgError(f"--queries {source}: cannot be read ({reason_of(error)})") from error
    except UnicodeDecodeError:
        raise VtgError(f"--queries {source}: is not UTF-8 text; give one sentence per line") from None
    queries = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    if not queries:
        raise UsageError(f"--queries {source}: holds no sentence; give one per line")
    return queries


def require_queries(queries: Sequence[str]) -> None:
    """Raise UsageError if there is no query, or an invalid one."""
    from model.grounding.grounder import check_queries

    if not queries:
        raise UsageError('add a query that describes what to look for, such as "man opens fridge"')
    check_queries(queries)


def _videos_named(argument: str, *, is_first: bool) -> Sequence[Place] | None:
    """The videos that an argument stands for; None if it is a query."""
    from extractors.extraction.collect import VIDEO_SUFFIXES

    if argument == STDIN:
        raise UsageError("-: is not a sentence; to read them from standard input: --queries -")
    if not argument.strip():
        return None
    argument = place_text("VIDEO")(argument)
    place = place_of(argument)
    if isinstance(place, Address):
        return _objects_named(place)
    named_as_video = place.suffix.lower() in VIDEO_SUFFIXES
    if exists(place):
        if os.path.isdir(place):  # noqa: PTH112 - says False where a folder cannot be looked into
            raise UsageError(
                f"{argument}: is a folder; name the videos in it (vtg ground {place}/*.mp4 …), watch the folder "
                f"(--watch {place}), or fill the cache (vtg extract {place})"
            )
        if named_as_video or is_first:
            return [place]
        raise UsageError(
            f"{argument}: is a file without a video ending; to read sentences from it, one per line: "
            f"--queries {argument}"
        )
    if named_as_video and glob.has_magic(argument):
        matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 - absolute, too
        if not matches:
            raise UsageError(f"{argument}: matches no video")
        return matches
    if named_as_video:
        raise UsageError(f"{argument}: does not exist")
    return None


def _objects_named(address: Address) -> Sequence[Place]:
    """Objects that can be videos; whether one is there shows when it is read."""
    from extractors.extraction.collect import collect_places
    from extractors.storage.filesystems import require_usable

    require_usable(address)
    if not address.key or address.key.endswith("/"):
        raise UsageError(
            f"{address}: is a folder; name the videos in it, or fill the cache (vtg extract {address})"
        )
    return collect_places([address]) if "*" in address.key else [address]

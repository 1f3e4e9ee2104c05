"""`vtg ground`: the moments of a video that match a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from extractors.errors import VideoError
from extractors.places import Place
from vtg_cli.commands.ground_watch import WatchArguments
from vtg_cli.commands.outputs import Outputs, note_not_kept
from vtg_cli.parsing.arguments import SearchArguments, require_videos, videos_and_queries
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, detail, error_line, note, reader

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult
    from vtg_cli.terminal.progress import Display

_Item = TypeVar("_Item")

NOTHING_CLEAR = 3
"""Exit code of --only-clear if nothing matches clearly."""


def ground(
    search: SearchArguments,
    outputs: Outputs,
    watching: WatchArguments,
    choice: ModelArguments,
    # One list, because only the file system shows which arguments are videos.
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO... QUERY",
            help="One or more video files or addresses in object storage (none with --watch), and one or more "
            "sentences to look for.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find the moments of videos that match each query, ranked, with a saliency curve over time.

    The first call on a video extracts its features; later calls read them from the cache. Arguments that name video
    files are videos, and all others are queries. If a video cannot be read, it is reported, the others are done, and
    the exit code is 1.

    Some formats hold one video per file. For several videos, put {video} into the file name; it stands for the
    video's name.

    [bold]Examples[/]

      vtg ground video.mp4 "man opens fridge"

      vtg ground video.mp4 "a dog" "a cup of coffee" --top-k 3

      vtg ground video.mp4 "a goal" --json > answer.json

      vtg ground video.mp4 "a goal" -o goals.edl -o goals.csv

      vtg ground video.mp4 "a goal" --clips goals/ --supercut goals.mp4

      vtg ground video.mp4 "a goal" "a red card" --html match.html

      vtg ground *.mp4 "a goal" -o goals.csv --html 'goals-{video}.html'

      vtg ground video.mp4 "a goal" --only-clear || echo "no goal"

      vtg ground video.mp4 "a goal" --features open_clip:ViT-L-14/openai

      vtg ground s3://bucket/video.mp4 "a goal"

      vtg ground --watch recordings/ "a goal" -o goals.jsonl
    """
    videos, queries = videos_and_queries(arguments or [])
    if watching.watch is None:
        watching.require_none()
        require_videos(videos, arguments or [])
        outputs.check(videos)
        answered = answer_videos(videos, search.all_queries(queries), search, outputs, choice)
    else:
        outputs = replace(outputs, json_format="jsonl")
        watching.check(videos, outputs)
        answered = 0 if watching.answer(search.all_queries(queries), search, outputs, choice) else 1
    raise typer.Exit(answered)


def answer_videos(
    videos: Sequence[Place],
    queries: Sequence[str],
    search: SearchArguments,
    outputs: Outputs,
    choice: ModelArguments,
) -> int:
    """Answer for one video after another, each shown at once, then write the files.

    Returns:
        the exit code: 1 if a video or a file failed; NOTHING_CLEAR if only clear matches were asked for and there is
        none; else 0.
    """
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress

    results: list[GroundingResult] = []
    failed = False
    progress = ExtractionProgress(len(videos), report_failures=False)
    with progress as on_event, DownloadProgress("weights") as on_download:
        grounder = choice.load(on_event=on_event, on_download=on_download, on_write_error=note_not_kept)
        with closing(grounder.encode_each(videos)) as encoded:
            for video in _pausing(progress, encoded):
                if isinstance(video, VideoError):
                    error_line(str(video))
                    failed = True
                    continue
                answers = search.ground(grounder, video, queries)
                for sentence in () if results else grounder.notes:
                    note(sentence)
                results += answers
                outputs.show(answers)
                if reader.left and not outputs.keeps_something:
                    break
    written = not results or outputs.deliver(results)
    detail(f"{counted(len(results), 'query', 'queries')} answered")
    if failed or not written:
        return 1
    return NOTHING_CLEAR if search.only_clear and not any(result.moments for result in results) else 0


def _pausing(progress: Display, items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, with the display out of the way of what is printed for each."""
    for item in items:
        progress.pause()
        yield item

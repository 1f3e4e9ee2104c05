"""`vtg ground`: the moments of a video that match a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from extractors.errors import VideoError
from extractors.places import Place
from vtg_cli.commands.cues.asking import CueAnswers, CueArguments
from vtg_cli.commands.ground_watch import WatchArguments
from vtg_cli.commands.outputs import Outputs, note_not_kept
from vtg_cli.parsing.arguments import SearchArguments, require_videos, videos_and_queries
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, detail, error_line, note, reader

if TYPE_CHECKING:
    from extractors.cues.cue import Transcript
    from model.grounding.results import GroundingResult
    from vtg_cli.terminal.progress import Display

_Item = TypeVar("_Item")

# One list, because only the file system shows which arguments are videos.
VideosAndQueries = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VIDEO... QUERY",
        help="One or more video files or addresses in object storage (none with --watch), and one or more "
        "sentences to look for.",
        show_default=False,
    ),
]

NOTHING_CLEAR = 3
"""Exit code of --only-clear if nothing matches clearly."""


def ground(
    search: SearchArguments,
    cues: CueArguments,
    outputs: Outputs,
    watching: WatchArguments,
    choice: ModelArguments,
    arguments: VideosAndQueries = None,
) -> None:
    """Find the moments of videos that match each query, ranked, with a saliency curve over time.

    The first call on a video extracts its features; later calls read them from the cache. Arguments that name video
    files are videos, and all others are queries. If a video cannot be read, it is reported, the others are done, and
    the exit code is 1.

    If a video has subtitles, inside or beside it, queries are looked for in them, too. --no-cues leaves them out.

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

      vtg ground talk.mp4 --said "the budget"

      vtg ground video.mp4 "a goal" --only-clear || echo "no goal"

      vtg ground video.mp4 "a goal" --features open_clip:ViT-L-14/openai

      vtg ground s3://bucket/video.mp4 "a goal"

      vtg ground --watch recordings/ "a goal" -o goals.jsonl
    """
    videos, queries = videos_and_queries(arguments or [])
    cues.check(videos, is_watching=watching.watch is not None)
    if watching.watch is None:
        watching.require_none()
        require_videos(videos, arguments or [])
        outputs.check(videos)
        asked = search.all_queries(queries, may_be_none=cues.is_asked)
        answered = answer_videos(videos, asked, search, outputs, choice, cues)
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
    cues: CueArguments = CueArguments(),
) -> int:
    """Answer for one video after another, each shown at once, then write the files.

    What is asked of cues is answered after the queries. Without queries, no model is loaded and no features are
    extracted.

    Returns:
        the exit code: 1 if a video or a file failed; NOTHING_CLEAR if only clear matches were asked for and there is
        none; else 0.
    """
    answers = _Answers()
    if queries:
        _ground(videos, queries, search, outputs, choice, cues, answers)
    if cues.is_asked:
        _ask_cues(videos, search, outputs, choice, cues, answers)
        order = {str(video): number for number, video in enumerate(videos)}
        answers.results.sort(key=lambda result: order[result.video])
    results = answers.results
    written = not results or outputs.deliver(results, answers.words)
    detail(f"{counted(len(results), 'query', 'queries')} answered")
    if answers.failed or not written:
        return 1
    return NOTHING_CLEAR if search.only_clear and not any(result.moments for result in results) else 0


@dataclass
class _Answers:
    """What was found so far.

    Attributes:
        results: the answers.
        words: what is said and written in a video, by its name; only if a report is to show it.
        failed: the videos that cannot be read.
    """

    results: list[GroundingResult] = field(default_factory=list)
    words: dict[str, Sequence[Transcript]] = field(default_factory=dict)
    failed: set[Place] = field(default_factory=set)

    def add(self, found: CueAnswers, outputs: Outputs) -> None:
        """Take in the answers for a video, and show them."""
        self.results += found.results
        if outputs.html is not None and found.words:
            known = self.words.get(found.words[0].video, ())
            sources = {transcript.source for transcript in found.words}
            self.words[found.words[0].video] = [
                *(one for one in known if one.source not in sources),
                *found.words,
            ]
        outputs.show(found.results)


def _ground(
    videos: Sequence[Place],
    queries: Sequence[str],
    search: SearchArguments,
    outputs: Outputs,
    choice: ModelArguments,
    cues: CueArguments,
    answers: _Answers,
) -> None:
    """Ground queries in videos; adds the answers, and the videos that cannot be read."""
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress

    progress = ExtractionProgress(len(videos), report_failures=False)
    with progress as on_event, DownloadProgress("weights") as on_download:
        grounder = choice.load(on_event=on_event, on_download=on_download, on_write_error=note_not_kept)
        cue_grounder = cues.cue_grounder(grounder.cache)
        with closing(grounder.encode_each(videos)) as encoded:
            for video in _pausing(progress, encoded):
                if isinstance(video, VideoError):
                    error_line(str(video))
                    answers.failed.add(video.path)
                    continue
                found = cues.ground(grounder, cue_grounder, video, queries, search)
                for sentence in () if answers.results else grounder.notes:
                    note(sentence)
                answers.add(found, outputs)
                if reader.left and not outputs.keeps_something:
                    break


def _ask_cues(
    videos: Sequence[Place],
    search: SearchArguments,
    outputs: Outputs,
    choice: ModelArguments,
    cues: CueArguments,
    answers: _Answers,
) -> None:
    """Ask what is said in videos; adds the answers, and the videos that cannot be read."""
    cache = choice.feature_cache(on_write_error=note_not_kept)
    for video in videos:
        if video in answers.failed:
            continue
        if reader.left and not outputs.keeps_something:
            break
        try:
            found = cues.answer(video, search, cache)
        except VideoError as error:
            error_line(str(error))
            answers.failed.add(video)
            continue
        answers.add(found, outputs)


def _pausing(progress: Display, items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, with the display out of the way of what is printed for each."""
    for item in items:
        progress.pause()
        yield item

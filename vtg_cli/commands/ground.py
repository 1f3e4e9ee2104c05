"""`vtg ground`: the moments of a video that match a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from extractors.errors import UsageError, VideoError, VtgError
from vtg_cli.parsing import values
from vtg_cli.parsing.options import (
    Cache,
    Device,
    Features,
    Fps,
    Model,
    Offline,
    Precision,
    Quiet,
    Verbose,
    Weights,
    weights_by_feature,
)
from vtg_cli.terminal.console import counted, detail, error_line, note, reader

if TYPE_CHECKING:
    from extractors.events import Event
    from model import Grounder
    from model.grounding.encoded import EncodedVideo
    from model.grounding.results import GroundingResult
    from vtg_cli.commands.outputs import Delivery
    from vtg_cli.terminal.progress import Display

_Item = TypeVar("_Item")


def ground(
    # One list, because only the file system shows which arguments are videos.
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO... QUERY",
            help="One or more video files (none with --watch), and one or more sentences to look for.",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            parser=values.path_text("--queries"),
            help="Read more sentences from a file, one per line, or from standard input if -.",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            "-k",
            metavar="N",
            parser=values.whole_number("--top-k", least=1),
            help="Maximum moments per query.",
        ),
    ] = 5,
    threshold: Annotated[
        float,
        typer.Option(
            metavar="SCORE",
            parser=values.number("--threshold", least=0, most=1),
            help="Leave out moments with a lower score, from 0 to 1.",
        ),
    ] = 0.0,
    model: Model = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path_text("--output"),
            help="Write the answers to a file, or to standard output if -. The ending selects the format: {endings}. "
            "Can be given several times.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of an --output whose ending does not select one: {formats}.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=values.path("--clips"),
            help="Cut every moment out into a separate video file in this folder.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    supercut: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.path("--supercut"),
            help="Join all moments in order of time into one video.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    padding: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--padding", least=0, most=values.LONGEST_S),
            help="Seconds added on either side of a moment that is cut out.",
            rich_help_panel="Results",
        ),
    ] = 0.0,
    copy: Annotated[
        bool,
        typer.Option(
            "--copy",
            help="Cut --clips at key frames, without re-encoding.",
            rich_help_panel="Results",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.path("--plot"),
            help="Draw curves, moments and thumbnails into a .png or .svg.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.path("--html"),
            help="Write a page for a browser: the video, its curves, and moments to click.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    embed: Annotated[
        bool,
        typer.Option(
            "--embed",
            help="Store the video in the --html file, up to 100 MB.",
            rich_help_panel="Results",
        ),
    ] = False,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=values.existing("--watch"),
            help="Answer for every video in a folder, and for each new one, until Ctrl-C.",
            show_default=False,
            rich_help_panel="Watching",
        ),
    ] = None,
    new_only: Annotated[
        bool,
        typer.Option("--new-only", help="Skip the videos already in the folder.", rich_help_panel="Watching"),
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--settle", least=0.1, most=values.LONGEST_S),
            help="Seconds without changes before a file counts as complete.",
            rich_help_panel="Watching",
        ),
    ] = 2.0,
    features: Features = "auto",
    fps: Fps = None,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Weights = None,
    cache: Cache = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
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

      vtg ground --watch recordings/ "a goal" -o goals.jsonl
    """
    del quiet, verbose
    from vtg_cli.commands.outputs import Delivery, choose_outputs
    from vtg_cli.parsing.arguments import read_queries, require_queries, require_videos, videos_and_queries

    delivery = Delivery(
        outputs=choose_outputs(
            output or [], formats or [], json=("jsonl" if watch else "json") if json else None
        ),
        clips=clips,
        supercut=supercut,
        padding_s=padding,
        copy=copy,
        plot=plot,
        html=html,
        embed=embed,
    )
    videos, sentences = videos_and_queries(arguments or [])
    if watch is not None:
        from vtg_cli.commands.ground_watch import check_watch

        check_watch(watch, videos, delivery)
    else:
        if new_only:
            raise UsageError("--new-only: needs --watch")
        require_videos(videos, arguments or [])
        delivery.check(videos)
    if len(sentences) > 1 and all(word.isascii() and word.isalpha() for word in sentences):
        note(f'these are {len(sentences)} queries of one word; as one query: "{" ".join(sentences)}"')
    if queries is not None:
        sentences += read_queries(queries)
    require_queries(sentences)

    from extractors.cache.store import FeatureCache
    from model import Grounder
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress

    def load(on_event: Callable[[Event], None], on_download: DownloadProgress) -> Grounder:
        return Grounder.load(
            model,
            features=features,
            fps=fps,
            device=device,
            precision=precision,
            weights=weights_by_feature(weights),
            cache=FeatureCache(cache, on_write_error=_note_not_kept),
            offline=offline,
            on_event=on_event,
            on_download=on_download,
        )

    if watch is not None:
        from vtg_cli.commands.ground_watch import FolderWatch, Relay

        folder_watch = FolderWatch(
            watch,
            sentences,
            delivery,
            top_k=top_k,
            threshold=threshold,
            settle_s=settle,
            new_only=new_only,
        )
        relay = Relay()
        with DownloadProgress("weights") as on_download:
            grounder = load(relay, on_download)
            for sentence in grounder.notes:
                note(sentence)
            if not folder_watch.run(grounder, relay):
                raise typer.Exit(1)
        return

    progress = ExtractionProgress(len(videos), report_failures=False)
    with progress as on_event, DownloadProgress("weights") as on_download:
        grounder = load(on_event, on_download)

        def answer(video: EncodedVideo) -> list[GroundingResult]:
            return grounder.ground(video, sentences, top_k=top_k, threshold=threshold)

        with closing(grounder.encode_each(videos)) as encoded:
            results, failed = _answer_each(_pausing(progress, encoded), answer, grounder.notes, delivery)
    if results and not delivery.deliver(results):
        failed += 1
    detail(f"{counted(len(results), 'query', 'queries')} answered")
    if failed:
        raise typer.Exit(1)


def _pausing(progress: Display, items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, with the display out of the way of what is printed for each."""
    for item in items:
        progress.pause()
        yield item


def _answer_each(
    videos: Iterable[EncodedVideo | VideoError],
    answer: Callable[[EncodedVideo], list[GroundingResult]],
    notes: Sequence[str],
    delivery: Delivery,
) -> tuple[list[GroundingResult], int]:
    """Answer for one video after the other, each shown at once.

    Returns:
        all answers, and the number of videos that failed.
    """
    from vtg_cli.commands.outputs import show

    everything: list[GroundingResult] = []
    failed = 0
    for video in videos:
        if isinstance(video, VideoError):
            error_line(str(video))
            failed += 1
            continue
        results = answer(video)
        if not everything:
            for sentence in notes:
                note(sentence)
        everything += results
        if delivery.shows_tables:
            show(results)
        if reader.left and not delivery.keeps_something:
            break
    return everything, failed


def _note_not_kept(error: VtgError) -> None:
    note(f"the features are not kept, and are made again for the next query: {error}")

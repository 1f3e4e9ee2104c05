"""`vtg search`: the moments of many videos that match a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.places import local_path
from vtg_cli.commands.ground import NOTHING_CLEAR
from vtg_cli.commands.library.intake import taking_in
from vtg_cli.commands.library.outputs import HitOutputs
from vtg_cli.commands.library.words import WordArguments, note_unready
from vtg_cli.commands.outputs import Outputs
from vtg_cli.parsing import values
from vtg_cli.parsing.arguments import SearchArguments
from vtg_cli.parsing.library import FilterArguments, LibraryArguments, paths_and_queries
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, note

if TYPE_CHECKING:
    from model.search.filters import Filters
    from model.search.results import SearchResult


@dataclass(frozen=True)
class HitArguments:
    """How hits are chosen and grouped."""

    per_video: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--per-video", least=1),
            help="Maximum moments of one video per query.",
        ),
    ] = 3
    by_video: Annotated[
        bool, typer.Option("--by-video", help="List the moments video by video, the best video first.")
    ] = False


def search(
    looked_for: SearchArguments,
    words: WordArguments,
    hits: HitArguments,
    library: LibraryArguments,
    only: FilterArguments,
    outputs: Outputs,
    choice: ModelArguments,
    # One list, because only the file system shows which arguments are paths.
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY... [PATH]...",
            help="One or more sentences to look for; videos and folders to search, or none for the whole library.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find the moments of many videos that match each query, ranked across the videos.

    Arguments that name files or folders are paths, and all others are queries. Videos of the paths that the library
    lacks are added to it first, as by vtg index add, and only the paths are searched. If a video cannot be read, it is
    reported, the others are searched, and the exit code is 1.

    Queries are looked for in pictures, in subtitles, and in speech and text on the screen that were read before.
    --no-cues leaves the words out. --said and --written ask words alone: without other queries, no features are
    extracted, nothing is added to a library, and paths need none.

    [bold]Examples[/]

      vtg search "a dog" videos/

      vtg search "a dog" "a cup of coffee" --top-k 20 --by-video

      vtg search "a goal" --library matches --newer 7d --longer 600

      vtg search "a goal" -o goals.edl --supercut goals.mp4 --clips goals/

      vtg search --said "the budget" talks/

      vtg search "a goal" --only-clear || echo "no goal"
    """
    paths, named = paths_and_queries(arguments or [])
    queries = looked_for.all_queries(named, may_be_none=words.is_asked)
    writing = HitOutputs(outputs, by_video=hits.by_video)
    writing.check()
    filters = only.filters(paths)
    videos = words.videos(paths, filters, library)
    found, failed = _search(paths, queries, looked_for, words, hits, filters, library, choice)
    quoted, unreadable = words.answer(videos, looked_for, hits.per_video, filters, choice, reported=failed)
    found += quoted
    failed |= unreadable
    written = writing.deliver(found)
    if failed or not written:
        raise typer.Exit(1)
    if looked_for.only_clear and not any(result.hits for result in found):
        raise typer.Exit(NOTHING_CLEAR)


def _search(
    paths: Sequence[Path],
    queries: Sequence[str],
    looked_for: SearchArguments,
    words: WordArguments,
    hits: HitArguments,
    filters: Filters,
    library: LibraryArguments,
    choice: ModelArguments,
) -> tuple[list[SearchResult], set[Path]]:
    """Add what the library lacks of the paths, and search; returns the results, and the videos that failed."""
    if not queries:
        return [], set()
    with taking_in(library, choice) as intake:
        opened = intake.library
        added = opened.add(paths, on_event=intake.on_event, on_start=intake.on_start) if paths else None
        intake.pause()
        words.prepare(opened, () if added is None else added.taken, filters)
        found = opened.search(
            queries,
            top_k=looked_for.top_k,
            per_video=hits.per_video,
            threshold=looked_for.threshold,
            only_clear=looked_for.only_clear,
            filters=filters,
            cues=words.cues is not False,
        )
        note_unready(found)
        for sentence in () if paths else opened.grounder.notes:
            note(sentence)
        if lacking := len(opened.videos(filters)) - found[0].videos:
            note(
                f"{counted(lacking, 'video')} of the library left out, without the "
                f"{' + '.join(opened.grounder.model.features)} features; vtg index update with the same options makes "
                "them"
            )
    damaged = {(answer.video, answer.facts) for result in found for answer in result.answers}
    for video, facts in sorted(damaged, key=lambda one: one[0]):
        for warning in facts.warnings():
            note(f"{video}: {warning}")
    if stale := {path for result in found for path in result.stale}:
        note(
            f"left out {counted(len(stale), 'likely video')} whose files have changed or gone, or whose features are "
            "gone from the cache; vtg index update looks at them again"
        )
    return found, set() if added is None else {local_path(result.path) for result in added.failed}

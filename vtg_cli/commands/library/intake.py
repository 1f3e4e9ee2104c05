"""A library that takes videos in, with progress in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vtg_cli.parsing.cluster import ClusterArguments
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import EncoderArguments, ModelArguments
from vtg_cli.terminal.console import note

if TYPE_CHECKING:
    from extractors.videos.events import Event
    from model.search.intake import ExtractAll
    from model.search.library import Library


@dataclass(frozen=True)
class Intake:
    """An open library, and what shows its progress.

    Attributes:
        library: open until the block ends.
        on_event, on_start: for `Library.add` and `Library.update`.
        pause: takes the display away, so that something else can be printed.
    """

    library: Library
    on_event: Callable[[Event], None]
    on_start: Callable[[int], None]
    pause: Callable[[], None]


@contextmanager
def taking_in(library: LibraryArguments, choice: ModelArguments) -> Iterator[Intake]:
    """Open a library; raises UsageError as `LibraryArguments.open`."""
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress

    progress = ExtractionProgress()
    with (
        progress as on_event,
        DownloadProgress("weights") as on_download,
        library.open(choice, on_download=on_download) as opened,
    ):

        def begin(count: int) -> None:
            progress.expect(count)
            for sentence in opened.grounder.notes:
                note(sentence)

        yield Intake(opened, on_event, begin, progress.pause)


@contextmanager
def extracting(
    library: Library, cluster: ClusterArguments, encoders: EncoderArguments
) -> Iterator[ExtractAll | None]:
    """What extracts for a library on a cluster; None if it is not to be one.

    Raises:
        UsageError, VtgError: as `connected` and `ClusterArguments.share`.
    """
    if cluster.ray is None:
        yield None
        return
    from vtg_cli.cluster import connected

    with connected(cluster.ray):
        extract_on_cluster = cluster.extract_with(encoders.device)
        grounder, options = library.grounder, encoders.options()
        specs = [encoder.spec for encoder in grounder.video_encoders]
        features = {spec.name: replace(options, clip_length_s=spec.clip_length_s) for spec in specs}
        yield lambda files, listen: extract_on_cluster(
            files, features, grounder.cache, grounder.extraction, on_event=listen
        )

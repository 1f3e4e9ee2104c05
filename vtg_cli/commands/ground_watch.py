"""`vtg ground --watch`: answers for every video in a folder once it is complete, until Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from extractors.errors import UsageError, VideoError
from extractors.places import Place
from vtg_cli.commands.outputs import Outputs, note_not_kept
from vtg_cli.cutting.clips import Stems
from vtg_cli.parsing import values
from vtg_cli.parsing.arguments import SearchArguments
from vtg_cli.parsing.options import ModelArguments, path_option
from vtg_cli.terminal.console import counted, detail, error_line, note, reader
from vtg_cli.watch import Arrival, Arrivals, arriving, videos_in

if TYPE_CHECKING:
    from extractors.videos.events import Event
    from model import Grounder
    from model.grounding.results import GroundingResult


@dataclass(frozen=True)
class WatchArguments:
    """Which folder is watched, and how; the rest means something only with a folder."""

    PANEL: ClassVar[str] = "Watching"

    watch: Annotated[
        Path | None,
        path_option(
            "--watch",
            metavar="FOLDER",
            help="Answer for every video in a folder, and for each new one, until Ctrl-C.",
            existing=True,
        ),
    ] = None
    new_only: Annotated[bool, typer.Option("--new-only", help="Skip the videos already in the folder.")] = (
        False
    )
    settle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--settle", least=0.1, most=values.LONGEST_S),
            help="Seconds without changes before a file counts as complete.",
        ),
    ] = 2.0

    def require_none(self) -> None:
        """Raise UsageError if the rest is given without a folder."""
        if self.new_only:
            raise UsageError("--new-only: needs --watch")

    def check(self, videos: Sequence[Place], outputs: Outputs) -> None:
        """Refuse an invalid watch before any work begins.

        Args:
            videos: those that were named beside it.
            outputs: what is to become of the answers.

        Raises:
            UsageError: if the folder is none, videos are named, or something is asked for that is of one video only.
        """
        from vtg_cli.writers.formats import formats

        folder = self.watch
        if folder is None or not folder.is_dir():
            raise UsageError(f"--watch {folder}: is not a folder")
        if videos:
            raise UsageError(
                f"'{videos[0]}' is a file, but --watch takes its videos from the folder; leave it out, or move it there"
            )
        if outputs.plot is not None or outputs.html is not None:
            raise UsageError(
                "--plot and --html hold one video; with --watch use -o answers.jsonl, --clips or --supercut"
            )
        for name, form in outputs.files:
            if not form.appendable:
                growing = " or ".join(known.name for known in formats() if known.appendable)
                raise UsageError(
                    f"--output {name}: {form.name} cannot be appended to; with --watch use {growing}"
                )
        for option, target in (("--clips", outputs.clips), ("--supercut", outputs.supercut)):
            if target is not None and target.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"{option} {target}: is in the watched folder and would be grounded too; choose another folder"
                )
        outputs.check([folder])

    def answer(
        self, queries: Sequence[str], search: SearchArguments, outputs: Outputs, choice: ModelArguments
    ) -> bool:
        """Answer until Ctrl-C; arguments, errors and what is returned as of `FolderWatch`."""
        from vtg_cli.terminal.progress import DownloadProgress

        watch = FolderWatch(self, queries, search, outputs)
        with DownloadProgress("weights") as on_download:
            grounder = choice.load(
                on_event=watch.on_event, on_download=on_download, on_write_error=note_not_kept
            )
            for sentence in grounder.notes:
                note(sentence)
            return watch.run(grounder)


class FolderWatch:
    """Answers the videos of a folder, one after another.

    Args:
        watching: the folder where they arrive, and when a file counts as whole.
        queries: what to look for in each.
        search: which moments are an answer.
        outputs: what becomes of the answers.
    """

    def __init__(
        self, watching: WatchArguments, queries: Sequence[str], search: SearchArguments, outputs: Outputs
    ) -> None:
        from vtg_cli.writers.formats import Appender

        assert watching.watch is not None, "there is a folder"
        self._folder = watching.watch
        self._queries = list(queries)
        self._search = search
        self._outputs = outputs
        self._appenders = [Appender(name, form) for name, form in outputs.files]
        self._listener: Callable[[Event], None] | None = None
        self._arrivals = Arrivals(watching.settle)
        if watching.new_only:
            self._arrivals.pass_over(videos_in(self._folder))
        self._answered: dict[Path, list[GroundingResult]] = {}
        self._failed: set[Path] = set()
        self._unfinished: set[Path] = set()
        self._stems: dict[Path, Stems] = {}

    def on_event(self, event: Event) -> None:
        """Pass an event of extraction on to the display of the video at work."""
        if self._listener is not None:
            self._listener(event)

    def run(self, grounder: Grounder) -> bool:
        """Answer until Ctrl-C, SIGTERM, or until standard output is closed.

        Args:
            grounder: answers; its extraction tells `on_event`.

        Returns:
            whether all that could be read was answered.

        Raises:
            VtgError: if answers cannot be written, or the encoders cannot be loaded.
        """
        with _interruptible() as interrupt:
            note(f"{self._folder}: watching for videos; Ctrl-C stops it")
            for arrival in arriving(self._folder, self._arrivals):
                self._answer(arrival, grounder, interrupt)
                if interrupt.came or (reader.left and not self._outputs.keeps_something):
                    break
        self._summarise()
        if self._outputs.supercut is not None:
            self._join(self._outputs.supercut)
        return not self._failed

    def _answer(self, arrival: Arrival, grounder: Grounder, interrupt: _Interrupt) -> None:
        from vtg_cli.terminal.progress import ExtractionProgress

        self._unfinished.add(arrival.path)
        try:
            with ExtractionProgress(report_failures=False) as self._listener:
                results = self._search.ground(grounder, arrival.path, self._queries)
            if arrival.has_changed:
                detail(f"{arrival.path}: changed meanwhile; it is read again when it is complete")
                return
            interrupt.waits = True  # what is answered is written, and not half of it
            self._deliver(arrival.path, results)
        except VideoError as error:
            if interrupt.came and not interrupt.waits:  # which the decoder hears of too
                return
            if arrival.has_changed:
                detail(f"{arrival.path}: is not complete yet")
                return
            error_line(str(error))
            self._failed.add(arrival.path)
        else:
            self._failed.discard(arrival.path)
        finally:
            interrupt.waits = False
        self._unfinished.discard(arrival.path)

    def _deliver(self, video: Path, results: list[GroundingResult]) -> None:
        from vtg_cli.cutting.clips import cut_clips

        wanted = self._outputs
        wanted.show(results)
        for appender in self._appenders:
            appender.append(results)
        self._answered.pop(video, None)
        found = wanted.findings(results)
        self._answered[video] = list(found) if wanted.supercut is not None else []
        if wanted.clips is not None:
            folder = wanted.clips / video.parent.relative_to(self._folder)
            stem = self._stems.setdefault(folder, Stems()).of(video)
            written = cut_clips(found, folder, stem=stem, padding_s=wanted.padding, copy=wanted.copy)
            detail(f"{folder}: {counted(len(written), 'clip')} of {video.name}")

    def _summarise(self) -> None:
        failed, waiting = len(self._failed), len(self._unfinished.union(self._arrivals.waiting))
        parts = [f"{counted(len(self._answered), 'video')} answered"]
        if failed:
            parts.append(f"{failed} failed")
        if waiting:
            parts.append(f"{waiting} still to come")
        note(f"{self._folder}: {', '.join(parts)}")

    def _join(self, target: Path) -> None:
        from vtg_cli.cutting.clips import join_moments
        from vtg_cli.terminal.timecode import span

        results = []
        for video, answers in self._answered.items():
            if video.exists():
                results += answers
            else:
                note(f"{video}: no longer exists and is left out of {target}")
        if not any(result.moments for result in results):
            note(f"{target}: not written, because there is no moment to join")
            return
        note(f"{target}: {span(join_moments(results, target, padding_s=self._outputs.padding))}")


@dataclass
class _Interrupt:
    """How the watch is ended.

    Attributes:
        came: whether it was.
        waits: whether what is being done is finished first.
    """

    came: bool = False
    waits: bool = False


@contextmanager
def _interruptible() -> Iterator[_Interrupt]:
    """Ctrl-C and SIGTERM end the block, and not the process: what was answered is still summed up."""
    interrupt = _Interrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.came:
            os._exit(128 + number)  # a second signal does not wait for the first one's clean-up
        interrupt.came = True
        if not interrupt.waits:
            raise KeyboardInterrupt

    # A command that was started in the background is not meant to be interrupted.
    heard = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, handle) for one in heard}
    try:
        yield interrupt
    except BaseException:
        # Libraries turn an interrupt that meets them half loaded into errors of all kinds.
        if not interrupt.came:
            raise
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

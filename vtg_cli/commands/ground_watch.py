"""`vtg ground --watch`: answers for every video in a folder once it is complete, until Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VideoError
from vtg_cli.commands.outputs import Delivery, show
from vtg_cli.cutting.clips import Stems
from vtg_cli.terminal.console import counted, detail, error_line, note, reader
from vtg_cli.watch import Arrival, Arrivals, arriving, videos_in

if TYPE_CHECKING:
    from extractors.events import Event
    from model import Grounder
    from model.grounding.results import GroundingResult


def check_watch(folder: Path, videos: Sequence[Path], delivery: Delivery) -> None:
    """Refuse an invalid watch before any work begins.

    Args:
        videos: those that were named beside it.

    Raises:
        UsageError: if the folder is none, videos are named, or something is asked for that is of one video only.
    """
    from vtg_cli.writers.formats import formats

    if not folder.is_dir():
        raise UsageError(f"--watch {folder}: is not a folder")
    if videos:
        raise UsageError(
            f"'{videos[0]}' is a file, but --watch takes its videos from the folder; leave it out, or move it there"
        )
    if delivery.plot is not None or delivery.html is not None:
        raise UsageError(
            "--plot and --html hold one video; with --watch use -o answers.jsonl, --clips or --supercut"
        )
    for name, form in delivery.outputs:
        if not form.appendable:
            growing = " or ".join(known.name for known in formats() if known.appendable)
            raise UsageError(
                f"--output {name}: {form.name} cannot be appended to; with --watch use {growing}"
            )
    for option, target in (("--clips", delivery.clips), ("--supercut", delivery.supercut)):
        if target is not None and target.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"{option} {target}: is in the watched folder and would be grounded too; choose another folder"
            )
    delivery.check([folder])


class Relay:
    """Passes events of extraction on to the display of the video at work."""

    def __init__(self) -> None:
        self.listener: Callable[[Event], None] | None = None

    def __call__(self, event: Event) -> None:
        if self.listener is not None:
            self.listener(event)


class FolderWatch:
    """Answers the videos of a folder, one after another.

    Args:
        folder: where they arrive.
        queries: what to look for in each.
        delivery: what becomes of the answers.
        top_k, threshold: as for `Grounder.ground`.
        settle_s: seconds without a change after which a file counts as whole.
        new_only: whether what is there already is left alone.
    """

    def __init__(
        self,
        folder: Path,
        queries: Sequence[str],
        delivery: Delivery,
        *,
        top_k: int,
        threshold: float,
        settle_s: float,
        new_only: bool,
    ) -> None:
        from vtg_cli.writers.formats import Appender

        self._folder = folder
        self._queries = list(queries)
        self._delivery = delivery
        self._top_k = top_k
        self._threshold = threshold
        self._appenders = [Appender(name, form) for name, form in delivery.outputs]
        self._arrivals = Arrivals(settle_s)
        if new_only:
            self._arrivals.pass_over(videos_in(folder))
        self._answered: dict[Path, list[GroundingResult]] = {}
        self._failed: set[Path] = set()
        self._unfinished: set[Path] = set()
        self._stems: dict[Path, Stems] = {}

    def run(self, grounder: Grounder, relay: Relay) -> bool:
        """Answer until Ctrl-C, SIGTERM, or until standard output is closed.

        Args:
            grounder: answers.
            relay: hears of its extraction.

        Returns:
            whether all that could be read was answered.

        Raises:
            VtgError: if answers cannot be written, or the encoders cannot be loaded.
        """
        with _interruptible() as interrupt:
            note(f"{self._folder}: watching for videos; Ctrl-C stops it")
            for arrival in arriving(self._folder, self._arrivals):
                self._answer(arrival, grounder, relay, interrupt)
                if interrupt.came or (reader.left and not self._delivery.keeps_something):
                    break
        self._summarise()
        if self._delivery.supercut is not None:
            self._join(self._delivery.supercut)
        return not self._failed

    def _answer(self, arrival: Arrival, grounder: Grounder, relay: Relay, interrupt: _Interrupt) -> None:
        from vtg_cli.terminal.progress import ExtractionProgress

        self._unfinished.add(arrival.path)
        try:
            with ExtractionProgress(report_failures=False) as relay.listener:
                results = grounder.ground(
                    arrival.path, self._queries, top_k=self._top_k, threshold=self._threshold
                )
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

        wanted = self._delivery
        if wanted.shows_tables:
            show(results)
        for appender in self._appenders:
            appender.append(results)
        self._answered.pop(video, None)
        self._answered[video] = results if wanted.supercut is not None else []
        if wanted.clips is not None:
            folder = wanted.clips / video.parent.relative_to(self._folder)
            stem = self._stems.setdefault(folder, Stems()).of(video)
            written = cut_clips(results, folder, stem=stem, padding_s=wanted.padding_s, copy=wanted.copy)
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
        note(f"{target}: {span(join_moments(results, target, padding_s=self._delivery.padding_s))}")


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

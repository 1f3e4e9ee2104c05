"""The outputs of `vtg ground`: tables in the terminal, files, cuts, pictures."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from extractors.errors import UsageError, VtgError
from extractors.places import Address, Place
from vtg_cli.parsing import completion, values
from vtg_cli.parsing.options import path_option
from vtg_cli.parsing.values import is_same_file
from vtg_cli.terminal.console import answering, counted, detail, error_line, note, out

if TYPE_CHECKING:
    from extractors.cues.cue import Transcript
    from model.grounding.results import GroundingResult
    from vtg_cli.writers.formats import Format


PLACEHOLDER = "{video}"
"""What stands for the name of a video in the name of a file; such a file is written for each video."""


@dataclass(frozen=True)
class Outputs:
    """The requested outputs: the options of `vtg ground` that name files.

    Attributes:
        json_format: the format that --json prints.
    """

    PANEL: ClassVar[str] = "Results"

    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON document instead of tables.", rich_help_panel="Options"),
    ] = False
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path_text("--output"),
            help="Write the answers to a file, or to standard output if -. The ending selects the format: {endings}. "
            "Can be given several times.",
        ),
    ] = None
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            autocompletion=completion.formats,
            help="Format of an --output whose ending does not select one: {formats}.",
        ),
    ] = None
    clips: Annotated[
        Path | None,
        path_option(
            "--clips",
            metavar="FOLDER",
            help="Cut every moment out into a separate video file in this folder.",
        ),
    ] = None
    supercut: Annotated[
        Path | None,
        path_option("--supercut", metavar="FILE", help="Join all moments in order of time into one video."),
    ] = None
    padding: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--padding", least=0, most=values.LONGEST_S),
            help="Seconds added on either side of a moment that is cut out.",
        ),
    ] = 0.0
    copy: Annotated[bool, typer.Option("--copy", help="Cut --clips at key frames, without re-encoding.")] = (
        False
    )
    plot: Annotated[
        Path | None,
        path_option(
            "--plot", metavar="FILE", help="Draw curves, moments and thumbnails into a .png or .svg."
        ),
    ] = None
    html: Annotated[
        Path | None,
        path_option(
            "--html",
            metavar="FILE",
            help="Write a page for a browser: the video, its curves, and moments to click.",
        ),
    ] = None
    embed: Annotated[
        bool, typer.Option("--embed", help="Store the video in the --html file, up to 100 MB.")
    ] = False
    all_moments: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Write and cut moments that do not clearly match, too.",
            rich_help_panel="Results",
        ),
    ] = False
    json_format: str = "json"

    @cached_property
    def files(self) -> tuple[tuple[str, Format], ...]:
        """Files, or `-` for standard output, and the formats they are written in.

        Raises:
            UsageError: if an ending says no format, a format is unknown, or standard output is asked for twice.
        """
        from vtg_cli.writers.formats import STDOUT, assign_formats

        names, formats = self.output or [], self.formats or []
        if formats and not names:
            raise UsageError("--format: needs an --output; for the terminal, add -o -")
        files = list(zip(names, assign_formats(names, formats), strict=True))
        if self.json:
            files += zip([STDOUT], assign_formats([STDOUT], [self.json_format]), strict=True)
        if [name for name, _ in files].count(STDOUT) > 1:
            raise UsageError("only one answer can go to standard output; give --json or -o - once")
        return tuple(files)

    @property
    def keeps_something(self) -> bool:
        """Whether anything is written besides standard output."""
        from vtg_cli.writers.formats import STDOUT

        named = any(name != STDOUT for name, _ in self.files)
        return named or any((self.clips, self.supercut, self.plot, self.html))

    def check(self, videos: Sequence[Place]) -> None:
        """Refuse outputs that cannot be written for these videos, before any work begins.

        Raises:
            UsageError: if an ending says no format, options exclude each other, a file can hold one video only and
                there are several, a target is one of the videos itself, or an output needs the file of a video in
                object storage.
        """
        from vtg_cli.cutting.clips import check_request
        from vtg_cli.drawing.html_report import check_report
        from vtg_cli.drawing.plot import check_plot

        check_request(self.clips, self.supercut, padding_s=self.padding, copy=self.copy)
        if self.embed and self.html is None:
            raise UsageError("--embed: needs --html")
        if self.plot is not None:
            check_plot(self.plot)
        files = self._on_this_machine(videos)
        if self.html is not None:
            for video in files:
                check_report(self.html, video, embed=self.embed)
        if len(videos) > 1:
            self._check_room()
        for option, target in self._targets(videos):
            if any(is_same_file(target, video) for video in files):
                raise UsageError(
                    f"{option} {target}: is the video itself; give the {_WHAT[option]} another name"
                )

    def show(self, results: Sequence[GroundingResult]) -> None:
        """Print tables and curves, if nothing else goes to standard output."""
        from vtg_cli.writers.formats import STDOUT

        if all(name != STDOUT for name, _ in self.files):
            _show(results)

    def deliver(
        self, results: Sequence[GroundingResult], words: Mapping[str, Sequence[Transcript]] | None = None
    ) -> bool:
        """Write the requested outputs and report them on standard error; tables are printed elsewhere.

        What cannot be written is reported, and the rest is written.

        Args:
            results: those of each video together.
            words: what is said and written in videos, by their names, for reports.

        Returns:
            whether all was written.
        """
        written = True
        for write in self._tasks(results, words or {}):
            try:
                write()
            except VtgError as error:
                error_line(str(error))
                written = False
        if self.leaves_out_unclear and (unclear := sum(map(_unclear, results))):
            note(
                f"{counted(unclear, 'moment')} without a clear match left out of cuts, timelines and subtitles; "
                "--all includes them"
            )
        return written

    @property
    def leaves_out_unclear(self) -> bool:
        """Whether an output does not hold moments that do not clearly match."""
        cuts = self.clips is not None or self.supercut is not None
        return not self.all_moments and (cuts or not all(form.marks_unclear for _, form in self.files))

    def findings(self, results: Sequence[GroundingResult]) -> Sequence[GroundingResult]:
        """The results as they are cut out: without moments that do not clearly match, unless --all is given."""
        from vtg_cli.writers.formats import findings

        return findings(results, all_moments=self.all_moments)

    def _tasks(
        self, results: Sequence[GroundingResult], words: Mapping[str, Sequence[Transcript]]
    ) -> Iterator[Callable[[], None]]:
        """Everything that is to be written, in order."""
        by_video: dict[str, list[GroundingResult]] = {}
        for result in results:
            by_video.setdefault(result.video, []).append(result)
        stems = self._stems(by_video)

        def files(name: str | Path) -> Iterator[tuple[str, Sequence[GroundingResult]]]:
            if PLACEHOLDER not in str(name):
                yield str(name), results
                return
            for video, own in by_video.items():
                yield str(name).replace(PLACEHOLDER, stems[video]), own

        for name, form in self.files:
            for target, part in files(name):
                yield partial(self._write, part, target, form)
        if self.clips is not None:
            videos = [Path(video) for video in by_video]
            for video, own in by_video.items():
                yield partial(self._cut, own, stems[video], self.clips, videos)
        report = partial(self._report, words)
        for named, write in ((self.supercut, self._join), (self.plot, self._draw), (self.html, report)):
            for target, part in files(named) if named is not None else ():
                yield partial(write, part, Path(target))

    def _write(self, results: Sequence[GroundingResult], name: str, form: Format) -> None:
        from vtg_cli.writers.formats import STDOUT, write_output

        write_output(results if form.marks_unclear else self.findings(results), name, form)
        if name != STDOUT:
            detail(f"{name}: written as {form.name}")

    def _cut(
        self, results: Sequence[GroundingResult], stem: str, folder: Path, spared: Sequence[Path]
    ) -> None:
        from vtg_cli.cutting.clips import cut_clips

        found = self.findings(results)
        written = cut_clips(found, folder, stem=stem, padding_s=self.padding, copy=self.copy, spared=spared)
        note(f"{folder}: {counted(len(written), 'clip')} of {results[0].video}")

    def _join(self, results: Sequence[GroundingResult], target: Path) -> None:
        from vtg_cli.cutting.clips import join_moments
        from vtg_cli.terminal.timecode import span

        found = self.findings(results)
        if any(result.moments for result in results) and not any(result.moments for result in found):
            note(f"{target}: not written, because nothing matches clearly")
            return
        note(f"{target}: {span(join_moments(found, target, padding_s=self.padding))}")

    def _draw(self, results: Sequence[GroundingResult], target: Path) -> None:
        from vtg_cli.drawing.plot import write_plot

        write_plot(results, target)
        note(f"{target}: drawn")

    def _report(
        self, words: Mapping[str, Sequence[Transcript]], results: Sequence[GroundingResult], target: Path
    ) -> None:
        from vtg_cli.drawing.html_report import write_report
        from vtg_cli.drawing.playback import doubt

        write_report(results, target, embed=self.embed, words=words.get(results[0].video, ()))
        note(f"{target}: written; open it in a browser")
        if reason := doubt(Path(results[0].video)):
            note(f"{target}: {reason}; if it does not play, the page shows stills of its moments")

    def _on_this_machine(self, videos: Sequence[Place]) -> list[Path]:
        """The videos that are files on this machine.

        Raises:
            UsageError: if there are others, and an output is made from the file itself.
        """
        named = (
            ("--clips", self.clips),
            ("--supercut", self.supercut),
            ("--plot", self.plot),
            ("--html", self.html),
        )
        needing = [option for option, target in named if target is not None]
        needing += [f"{form.name}" for _, form in self.files if form.counts_frames]
        for video in videos:
            if isinstance(video, Address) and needing:
                raise UsageError(
                    f"{video}: {needing[0]} needs the video's file; download it, and name the file"
                )
        return [video for video in videos if isinstance(video, Path)]

    def _check_room(self) -> None:
        """Refuse files that hold one video and have no placeholder for its name."""
        for name, form in self.files:
            if form.holds_one_video and PLACEHOLDER not in name:
                file = (
                    f"{PLACEHOLDER}{form.suffix}"
                    if form.suffix
                    else f"{PLACEHOLDER}.txt --format {form.name}"
                )
                raise UsageError(
                    f"--output {name}: {form.name} holds one video, but there are several; write one file per video: "
                    f"--output {file}"
                )
        for option, path in (("--plot", self.plot), ("--html", self.html)):
            if path is not None and PLACEHOLDER not in str(path):
                file = str(path.with_name(f"{PLACEHOLDER}-{path.name}"))
                raise UsageError(
                    f"{option} {path}: holds one video, but there are several; write one file per video: "
                    f"{option} {file}"
                )

    def _targets(self, videos: Sequence[Place]) -> Iterator[tuple[str, Path]]:
        """Options that name files, and the files."""
        from vtg_cli.writers.formats import STDOUT

        stems = self._stems(map(str, videos))
        named: list[tuple[str, str | Path | None]] = [
            ("--output", name) for name, _ in self.files if name != STDOUT
        ]
        named += [("--supercut", self.supercut), ("--plot", self.plot), ("--html", self.html)]
        for option, name in named:
            for stem in stems.values() if name is not None else ():
                yield option, Path(str(name).replace(PLACEHOLDER, stem))

    @staticmethod
    def _stems(videos: Iterable[str]) -> dict[str, str]:
        from vtg_cli.cutting.clips import Stems

        stems = Stems()
        return {video: stems.of(Path(video)) for video in videos}


_WHAT = {"--output": "answers", "--supercut": "supercut", "--plot": "picture", "--html": "page"}


def _unclear(result: GroundingResult) -> int:
    return len(result.moments) - len(result.clear().moments)


def note_not_kept(error: VtgError) -> None:
    """Say that answers come at the price of another extraction the next time."""
    note(f"the features are not kept, and are made again for the next query: {error}")


def _show(results: Sequence[GroundingResult]) -> None:
    """Tables and curves on the terminal."""
    from rich.markup import escape

    from vtg_cli.drawing.terminal_curve import glyphs_for, render_result
    from vtg_cli.terminal.console import printable
    from vtg_cli.terminal.timecode import timecode
    from vtg_cli.terminal.verdict import basis

    if sys.stdout is None:
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Queries and names of files may hold letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = out()
    glyphs = glyphs_for(console.encoding)
    first = results[0]
    with answering():
        console.print(
            f"[bold]{escape(printable(first.video))}[/] {glyphs.separator} {timecode(first.duration_s)} "
            f"{glyphs.separator} {basis(first)}\n",
            soft_wrap=True,
        )
        for result in results:
            console.print(render_result(result, width=console.width, glyphs=glyphs))

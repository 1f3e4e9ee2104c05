"""What `vtg ground` does with its answers: tables on the terminal, files, clips, pictures."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError
from vtg_cli.console import answering, counted, detail, note, out

if TYPE_CHECKING:
    from model.moments import GroundingResult
    from vtg_cli.writers import Format


@dataclass(frozen=True)
class Delivery:
    """What is to become of answers.

    Attributes:
        outputs: files, or `-` for standard output, and the formats they are written in.
        clips: folder for a video a moment.
        supercut: file for all moments in one video.
        padding_s: seconds added on either side of a moment that is cut.
        copy: whether clips are copied at key frames.
        plot: picture of the curves.
        html: page for a browser.
        embed: whether the video is put into the page.
    """

    outputs: tuple[tuple[str, Format], ...] = ()
    clips: Path | None = None
    supercut: Path | None = None
    padding_s: float = 0.0
    copy: bool = False
    plot: Path | None = None
    html: Path | None = None
    embed: bool = False

    @property
    def shows_tables(self) -> bool:
        """Whether people get tables: whenever standard output has nothing else to hold."""
        from vtg_cli.writers import STDOUT

        return all(name != STDOUT for name, _ in self.outputs)

    @property
    def keeps_something(self) -> bool:
        """Whether anything is written but what goes to standard output."""
        from vtg_cli.writers import STDOUT

        files = any(name != STDOUT for name, _ in self.outputs)
        return files or any((self.clips, self.supercut, self.plot, self.html))

    def check(self, video: Path) -> None:
        """Refuse what could not be written of a video, before anything is looked for.

        Raises:
            UsageError: if an ending says no format, options exclude each other, or a target is the video itself.
        """
        from vtg_cli.clips import check_request
        from vtg_cli.plot import check_plot
        from vtg_cli.writers import STDOUT
        from vtg_cli.writers.html_report import check_report

        for name, _ in self.outputs:
            if name != STDOUT and Path(name).resolve() == video.resolve():
                raise UsageError(f"--output {name}: is the video itself; give the answers another name")
        check_request(video, self.clips, self.supercut, padding_s=self.padding_s, copy=self.copy)
        if self.embed and self.html is None:
            raise UsageError("--embed: puts the video into the --html, and there is no --html")
        if self.plot is not None:
            check_plot(self.plot)
        if self.html is not None:
            check_report(self.html, video, embed=self.embed)

    def deliver(self, results: Sequence[GroundingResult]) -> None:
        """Write what was asked for of the answers on one video, and say so on standard error."""
        from vtg_cli.clips import cut_clips, join_moments
        from vtg_cli.plot import write_plot
        from vtg_cli.timecode import span
        from vtg_cli.writers import STDOUT, write_output
        from vtg_cli.writers.html_report import write_report

        if self.shows_tables:
            show(results)
        for name, form in self.outputs:
            write_output(results, name, form)
            if name != STDOUT:
                detail(f"{name}: written as {form.name}")
        if self.clips is not None:
            written = cut_clips(results, self.clips, padding_s=self.padding_s, copy=self.copy)
            note(f"{self.clips}: {counted(len(written), 'clip')}")
        if self.supercut is not None:
            note(f"{self.supercut}: {span(join_moments(results, self.supercut, padding_s=self.padding_s))}")
        if self.plot is not None:
            write_plot(results, self.plot)
            note(f"{self.plot}: drawn")
        if self.html is not None:
            write_report(results, self.html, embed=self.embed)
            note(f"{self.html}: written; open it in a browser")


def choose_outputs(
    names: Sequence[str], formats: Sequence[str], *, json: str | None
) -> tuple[tuple[str, Format], ...]:
    """What is written where.

    Args:
        names: of each --output.
        formats: of each --format.
        json: the format that standard output has for programs, if it is wanted.

    Raises:
        UsageError: if an ending says no format, a format is unknown, or standard output is asked for twice.
    """
    from vtg_cli.writers import STDOUT, assign_formats

    if formats and not names:
        raise UsageError(
            "--format: says how an --output is written, and there is none; for the terminal, add -o -"
        )
    outputs = list(zip(names, assign_formats(names, formats), strict=True))
    if json is not None:
        outputs += zip([STDOUT], assign_formats([STDOUT], [json]), strict=True)
    if [name for name, _ in outputs].count(STDOUT) > 1:
        raise UsageError("only one answer can go to standard output; give --json or -o - once")
    return tuple(outputs)


def show(results: Sequence[GroundingResult]) -> None:
    """Tables and curves on the terminal."""
    from rich.markup import escape

    from model.zeroshot import NAME as ZERO_SHOT
    from model.zeroshot import is_clear_match
    from vtg_cli.console import printable
    from vtg_cli.render import glyphs_for, render_result
    from vtg_cli.timecode import timecode

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
            f"{glyphs.separator} {first.model} on {' + '.join(first.features)} features\n"
        )
        for result in results:
            clear = result.model != ZERO_SHOT or not result.moments or is_clear_match(result.moments[0].score)
            console.print(render_result(result, width=console.width, clear_match=clear, glyphs=glyphs))

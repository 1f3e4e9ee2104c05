"""`vtg ground`: the moments of a video that match a sentence."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError
from vtg_cli.console import detail, note, out
from vtg_cli.options import (
    Cache,
    Device,
    Features,
    Fps,
    Offline,
    Precision,
    Quiet,
    Verbose,
    Weights,
    weights_by_feature,
)

if TYPE_CHECKING:
    from model.moments import GroundingResult
    from vtg_cli.writers import Format


def ground(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.", show_default=False)],
    queries: Annotated[
        list[str],
        typer.Argument(metavar="QUERY", help="What to look for, one or more sentences.", show_default=False),
    ],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Moments a query at most.")] = 5,
    threshold: Annotated[float, typer.Option(help="Leave out moments that score less.")] = 0.0,
    model: Annotated[
        str, typer.Option(help="Which model answers: auto, zero-shot, or a trained one by name or file.")
    ] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the answers there, or to standard output if -; the ending says the format: json, jsonl, csv, "
            "srt, vtt, edl, otio, fcpxml, txt. Can be given several times.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of an --output whose ending does not say it: one of the above, text or chapters (YouTube).",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Cut every moment into a video of its own there.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    supercut: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Join all moments in order of time into one video.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    padding: Annotated[
        float,
        typer.Option(
            min=0.0, help="Seconds added on either side of a cut moment.", rich_help_panel="Results"
        ),
    ] = 0.0,
    copy: Annotated[
        bool,
        typer.Option(
            "--copy", help="Cut --clips at key frames, without encoding anew.", rich_help_panel="Results"
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw curves and moments over thumbnails into a .png or .svg.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page for a browser: the video, its curves, and its moments to click on.",
            show_default=False,
            rich_help_panel="Results",
        ),
    ] = None,
    embed: Annotated[
        bool,
        typer.Option(
            "--embed",
            help="Put the video into the --html, if it has 100 MB at most.",
            rich_help_panel="Results",
        ),
    ] = False,
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
    """Find the moments of a video that match each query, ranked, with a saliency curve over time.

    The first call on a video extracts its features; every later one reads them from the cache.

    [bold]Examples[/]

      vtg ground video.mp4 "man opens fridge"

      vtg ground video.mp4 "a dog" "a cup of coffee" --top-k 3

      vtg ground video.mp4 "a goal" --json > answer.json

      vtg ground video.mp4 "a goal" -o goals.edl -o goals.csv

      vtg ground video.mp4 "a goal" --clips goals/ --supercut goals.mp4

      vtg ground video.mp4 "a goal" "a red card" --html match.html --plot match.png
    """
    del quiet, verbose
    from vtg_cli.clips import check_request

    outputs = _outputs(video, output or [], formats or [], json=json)
    check_request(video, clips, supercut, padding_s=padding, copy=copy)
    _check_pictures(video, plot, html, embed=embed)

    from model import Grounder
    from vtg_cli.progress import DownloadProgress, ExtractionProgress

    with ExtractionProgress(report_failures=False) as on_event, DownloadProgress("weights") as on_download:
        grounder = Grounder.load(
            model,
            features=features,
            fps=fps,
            device=device,
            precision=precision,
            weights=weights_by_feature(weights),
            cache=cache,
            offline=offline,
            on_event=on_event,
            on_download=on_download,
        )
        results = grounder.ground(video, queries, top_k=top_k, threshold=threshold)

    for sentence in grounder.notes:
        note(sentence)
    if not any(name == "-" for name, _ in outputs):
        _show(results)
    _deliver(results, outputs, clips, supercut, padding_s=padding, copy=copy)
    _picture(results, plot, html, embed=embed)
    detail(f"{len(results)} queries answered")


def _outputs(
    video: Path, names: Sequence[str], formats: Sequence[str], *, json: bool
) -> list[tuple[str, Format]]:
    """What is written where, decided before anything is looked for."""
    from vtg_cli.writers import STDOUT, assign_formats

    if formats and not names:
        raise UsageError(
            "--format: says how an --output is written, and there is none; for the terminal, add -o -"
        )
    outputs = list(zip(names, assign_formats(names, formats), strict=True))
    if json:
        outputs += zip([STDOUT], assign_formats([STDOUT], ["json"]), strict=True)
    if [name for name, _ in outputs].count(STDOUT) > 1:
        raise UsageError("only one answer can go to standard output; give --json or -o - once")
    for name in names:
        if name != STDOUT and Path(name).resolve() == video.resolve():
            raise UsageError(f"--output {name}: is the video itself; give the answers another name")
    return outputs


def _check_pictures(video: Path, plot: Path | None, html: Path | None, *, embed: bool) -> None:
    """Refuse pictures and pages that could not be written, before anything is looked for."""
    from vtg_cli.plot import check_plot
    from vtg_cli.writers.html_report import check_report

    if embed and html is None:
        raise UsageError("--embed: puts the video into the --html, and there is no --html")
    if plot is not None:
        check_plot(plot)
    if html is not None:
        check_report(html, video, embed=embed)


def _deliver(
    results: Sequence[GroundingResult],
    outputs: Sequence[tuple[str, Format]],
    clips: Path | None,
    supercut: Path | None,
    *,
    padding_s: float,
    copy: bool,
) -> None:
    """Write what was asked for, and say so on standard error."""
    from vtg_cli.clips import cut_clips, join_moments
    from vtg_cli.timecode import span
    from vtg_cli.writers import STDOUT, write_output

    for name, form in outputs:
        write_output(results, name, form)
        if name != STDOUT:
            detail(f"{name}: written as {form.name}")
    if clips is not None:
        written = cut_clips(results, clips, padding_s=padding_s, copy=copy)
        note(f"{clips}: {len(written)} clip{'' if len(written) == 1 else 's'}")
    if supercut is not None:
        note(f"{supercut}: {span(join_moments(results, supercut, padding_s=padding_s))}")


def _picture(
    results: Sequence[GroundingResult], plot: Path | None, html: Path | None, *, embed: bool
) -> None:
    """Draw what was asked for, and say so on standard error."""
    from vtg_cli.plot import write_plot
    from vtg_cli.writers.html_report import write_report

    if plot is not None:
        write_plot(results, plot)
        note(f"{plot}: drawn")
    if html is not None:
        write_report(results, html, embed=embed)
        note(f"{html}: written; open it in a browser")


def _show(results: Sequence[GroundingResult]) -> None:
    """Tables and curves on the terminal."""
    from rich.markup import escape

    from model.zeroshot import NAME as ZERO_SHOT
    from model.zeroshot import is_clear_match
    from vtg_cli.console import printable
    from vtg_cli.render import glyphs_for, render_result
    from vtg_cli.timecode import timecode

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Queries and names of files may hold letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = out()
    glyphs = glyphs_for(console.encoding)
    first = results[0]
    console.print(
        f"[bold]{escape(printable(first.video))}[/] {glyphs.separator} {timecode(first.duration_s)} {glyphs.separator} "
        f"{first.model} on {' + '.join(first.features)} features\n"
    )
    for result in results:
        clear = result.model != ZERO_SHOT or not result.moments or is_clear_match(result.moments[0].score)
        console.print(render_result(result, width=console.width, clear_match=clear, glyphs=glyphs))

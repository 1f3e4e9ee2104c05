"""`vtg ground`: the moments of a video that match a sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

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
    """
    del quiet, verbose
    from model import Grounder
    from model.zeroshot import NAME as ZERO_SHOT
    from model.zeroshot import is_clear_match
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
    if json:
        from vtg_cli.writers import json_document

        json_document.write(results, sys.stdout)
        return

    from rich.markup import escape

    from vtg_cli.console import printable
    from vtg_cli.render import render_result
    from vtg_cli.timecode import timecode

    console = out()
    first = results[0]
    console.print(
        f"[bold]{escape(printable(first.video))}[/] · {timecode(first.duration_s)} · "
        f"{first.model} on {' + '.join(first.features)} features\n"
    )
    for result in results:
        clear = result.model != ZERO_SHOT or not result.moments or is_clear_match(result.moments[0].score)
        console.print(render_result(result, width=console.width, clear_match=clear))
    detail(f"{len(results)} queries answered")

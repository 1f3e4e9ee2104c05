"""`vtg extract`: videos in, cached features out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtg_cli.console import note, out
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


def extract(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Videos, folders of videos, or globs.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Also write the published layout there: NAME_features/VIDEO.npz.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Extract even what is cached.")] = False,
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
    """Extract the features of videos into the cache.

    What is cached is skipped, so an interrupted run goes on where it stopped. A file that cannot be read is
    reported and the others are done; the exit code is then 1.

    [bold]Examples[/]

      vtg extract videos/

      vtg extract "talks/*.mp4" --features clip,slowfast

      vtg extract videos/ --output features/
    """
    del quiet, verbose
    from extractors.base import EncoderOptions
    from extractors.cache import FeatureCache
    from extractors.pipeline import collect_videos, extract_features
    from model.resolution import plan_features
    from vtg_cli.progress import DownloadProgress, ExtractionProgress
    from vtg_cli.timecode import span

    videos = collect_videos(paths)
    store = FeatureCache(cache)
    with ExtractionProgress(len(videos)) as on_event, DownloadProgress("weights") as on_download:
        options = EncoderOptions(
            device=device,
            precision=precision,
            weights=weights_by_feature(weights),
            offline=offline,
            on_download=on_download,
        )
        plan = plan_features(features, ("clip", "slowfast"), fps, options)
        encoders = plan.video_encoders()
        for sentence in plan.notes:
            note(sentence)
        report = extract_features(videos, encoders, store, overwrite=overwrite, on_event=on_event)

    names = " + ".join(encoder.spec.name for encoder in encoders)
    video_s = sum(result.duration_s for result in report.results if result.status == "extracted")
    speed = f" ({video_s / report.seconds:.1f} × real time)" if report.extracted else ""
    out().print(
        f"{names}: {report.extracted} extracted{speed}, {report.cached} already there, {report.failed} failed, "
        f"in {span(report.seconds)}"
    )
    if output is not None:
        for result in report.results:
            if result.status != "failed":
                store.export(result.path, [encoder.spec for encoder in encoders], output)
    if report.failed:
        raise typer.Exit(1)

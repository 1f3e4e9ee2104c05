"""`vtg extract`: videos in, cached features out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import NameTaken, UsageError, VideoError
from vtg_cli.parsing import values
from vtg_cli.parsing.options import (
    Cache,
    Device,
    Devices,
    Features,
    Fps,
    Offline,
    Precision,
    Quiet,
    Verbose,
    Weights,
    weights_by_feature,
)
from vtg_cli.terminal.console import error_line, note, out

if TYPE_CHECKING:
    from extractors.events import Event


def extract(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            parser=values.path_text("PATH"),
            help="Videos, folders of videos, or globs.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            parser=values.path("--output"),
            help="Also write the features to this folder in the published layout: NAME_features/VIDEO.npz.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.path("--report"),
            help="Write one JSON line per video: path, status (ok, skipped, failed), reason, seconds.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--timeout", least=1, most=values.LONGEST_S),
            help="Give up on a video if its decoder makes no progress for this long.",
        ),
    ] = 120.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Extract again, even if cached.")] = False,
    features: Features = "auto",
    fps: Fps = None,
    device: Device = "auto",
    devices: Devices = None,
    precision: Precision = "auto",
    weights: Weights = None,
    cache: Cache = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
) -> None:
    """Extract the features of videos into the cache.

    Cached videos are skipped, so an interrupted run continues where it stopped. If a file cannot be read, or crashes
    or hangs the decoder, it is reported, the others are done, and the exit code is 1.

    [bold]Examples[/]

      vtg extract videos/

      vtg extract "talks/*.mp4" --features clip,slowfast

      vtg extract videos/ --output features/ --report report.jsonl

      vtg extract videos/ --devices 0,1
    """
    del quiet, verbose
    from extractors.cache.store import FeatureCache
    from extractors.compute.device import resolve_devices
    from extractors.encoders.base import EncoderOptions
    from extractors.extraction.collect import collect_videos
    from extractors.extraction.multi_device import extract_on_devices
    from extractors.extraction.options import ExtractionOptions
    from extractors.extraction.pipeline import extract_features
    from model.grounding.choice import plan_features, preferred_features
    from vtg_cli.commands.extraction_report import ReportFile
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress
    from vtg_cli.terminal.timecode import span

    if devices is not None and device != "auto":
        raise UsageError("give --device or --devices, not both")
    workers = None if devices is None else resolve_devices(devices)
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
        plan = plan_features(features, preferred_features(), fps, options)
        encoders = plan.video_encoders()
        for sentence in plan.notes:
            note(sentence)
        with ReportFile(report, videos) as write:

            def listen(event: Event) -> None:
                on_event(event)
                write(event)

            extraction = ExtractionOptions(overwrite=overwrite, stall_s=timeout)
            if workers is None:
                done = extract_features(videos, encoders, store, extraction, on_event=listen)
            else:
                done = extract_on_devices(videos, workers, plan.options, store, extraction, on_event=listen)

    names = " + ".join(encoder.spec.name for encoder in encoders)
    video_s = sum(result.duration_s for result in done.results if result.status == "extracted")
    speed = f" ({video_s / done.seconds:.1f} × real time)" if done.extracted else ""
    out().print(
        f"{names}: {done.extracted} extracted{speed}, {done.cached} already there, {done.failed} failed, "
        f"in {span(done.seconds)}",
        soft_wrap=True,
    )
    lost = 0
    if output is not None:
        for result in done.results:
            if result.status != "failed":
                try:
                    store.export(result.path, [encoder.spec for encoder in encoders], output)
                except (VideoError, NameTaken) as error:
                    error_line(f"{error}; its features are in the cache, but not in {output}")
                    lost += 1
    if done.failed or lost:
        raise typer.Exit(1)

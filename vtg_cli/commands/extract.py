"""`vtg extract`: videos in, cached features out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, cast

import typer

from extractors.errors import UsageError
from extractors.places import Address, Place, place_of
from extractors.storage import SCRATCH_BYTES
from vtg_cli.parsing import values
from vtg_cli.parsing.cluster import ClusterArguments
from vtg_cli.parsing.options import Decoder, Devices, EncoderArguments, Features, Fps, path_option
from vtg_cli.terminal.console import note, out

if TYPE_CHECKING:
    from extractors.cache.store import FeatureCache
    from extractors.decoding.clip_reader import Decoder as DecoderName
    from extractors.encoders.base import VideoEncoder
    from extractors.extraction.options import ExtractionOptions
    from extractors.features import FeatureSpec
    from extractors.videos.events import Event, ExtractionReport
    from model.grounding.choice import FeaturePlan


@dataclass(frozen=True)
class ExtractArguments:
    """What is extracted again, and what is written beside the cache."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            parser=values.place_text("--output"),
            help="Also write the features to this folder, here or in object storage, in the published layout: "
            "NAME_features/VIDEO.npz.",
        ),
    ] = None
    report: Annotated[
        Path | None,
        path_option(
            "--report",
            metavar="FILE",
            help="Write one JSON line per video: path, status (ok, skipped, failed), reason, seconds.",
        ),
    ] = None
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=values.number("--timeout", least=1, most=values.LONGEST_S),
            help="Give up on a video if its decoder makes no progress for this long.",
        ),
    ] = 120.0
    scratch: Annotated[
        float,
        typer.Option(
            metavar="GB",
            parser=values.number("--scratch", least=0, most=1e6),
            help="Room on this machine for videos in object storage while they are read; VTG_SCRATCH names the folder.",
        ),
    ] = SCRATCH_BYTES / 1e9
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Extract again, even if cached.")] = False
    decoder: Decoder = "auto"

    @property
    def output_place(self) -> Place | None:
        """Where the features are also written."""
        return None if self.output is None else place_of(self.output)

    def options(self) -> ExtractionOptions:
        """The same for an extraction."""
        from extractors.extraction.options import ExtractionOptions

        return ExtractionOptions(
            decoder=cast("DecoderName", self.decoder),
            overwrite=self.overwrite,
            stall_s=self.timeout,
            output=self.output_place,
            scratch_bytes=round(self.scratch * 1e9),
        )


def extract(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            parser=values.place_text("PATH"),
            help="Videos, folders of videos, or globs; also addresses in object storage, such as s3://BUCKET/FOLDER/.",
            show_default=False,
        ),
    ],
    target: ExtractArguments,
    features: Features = "auto",
    fps: Fps = None,
    devices: Devices = None,
    *,
    cluster: ClusterArguments,
    encoders: EncoderArguments,
) -> None:
    """Extract the features of videos into the cache.

    Cached videos are skipped, so an interrupted run continues where it stopped. If a file cannot be read, or crashes
    or hangs the decoder, it is reported, the others are done, and the exit code is 1. Videos in object storage are
    downloaded while others are decoded, and deleted after use; features that an --output there has already are not made
    again.

    [bold]Examples[/]

      vtg extract videos/

      vtg extract "talks/*.mp4" --features clip,slowfast

      vtg extract videos/ --output features/ --report report.jsonl

      vtg extract videos/ --devices 0,1

      vtg extract s3://bucket/videos/ --output s3://bucket/features/

      vtg extract videos/ --ray auto --cache /shared/features
    """
    from extractors.cache.store import FeatureCache
    from extractors.extraction.collect import collect_places
    from extractors.storage.filesystems import require_usable

    if devices is not None and encoders.device != "auto":
        raise UsageError("give --device or --devices, not both")
    if devices is not None and cluster.ray is not None:
        raise UsageError("give --devices or --ray, not both")
    if isinstance(target.output_place, Address):
        require_usable(target.output_place)
    videos = collect_places(paths)
    with _workers(devices, cluster, encoders) as extract_all:
        store = FeatureCache(encoders.cache)
        done, specs = _extract(videos, store, target, (features, fps), extract_all, encoders)
    _print_summary(done, specs)
    if done.failed:
        raise typer.Exit(1)


class _Extract(Protocol):
    """Extracts in this process, in several, or on a cluster."""

    def __call__(
        self,
        videos: Sequence[Place],
        plan: FeaturePlan,
        used: Sequence[VideoEncoder],
        store: FeatureCache,
        options: ExtractionOptions,
        *,
        on_event: Callable[[Event], None],
    ) -> ExtractionReport: ...


@contextmanager
def _workers(
    devices: str | None, cluster: ClusterArguments, encoders: EncoderArguments
) -> Iterator[_Extract]:
    """What extracts, ready for work."""
    if cluster.ray is not None:
        from vtg_cli.cluster import connected

        with connected(cluster.ray):
            extract_on_cluster = cluster.extract_with(encoders.device)
            yield lambda videos, plan, used, store, options, *, on_event: extract_on_cluster(
                videos, plan.options, store, options, on_event=on_event
            )
    elif devices is not None:
        from extractors.compute.device import resolve_devices
        from extractors.extraction.multi_device import extract_on_devices

        resolved = resolve_devices(devices)
        yield lambda videos, plan, used, store, options, *, on_event: extract_on_devices(
            videos, resolved, plan.options, store, options, on_event=on_event
        )
    else:
        from extractors.extraction.pipeline import extract_features

        yield lambda videos, plan, used, store, options, *, on_event: extract_features(
            videos, used, store, options, on_event=on_event
        )


def _extract(
    videos: Sequence[Place],
    store: FeatureCache,
    target: ExtractArguments,
    choice: tuple[str, float | None],
    extract_all: _Extract,
    encoders: EncoderArguments,
) -> tuple[ExtractionReport, list[FeatureSpec]]:
    """Extract what is not cached; returns what became of each video, and what was extracted."""
    from model.grounding.choice import plan_features, preferred_features
    from vtg_cli.commands.extraction_report import ReportFile
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress

    features, fps = choice
    with ExtractionProgress(len(videos)) as on_event, DownloadProgress("weights") as on_download:
        options = replace(encoders.options(), on_download=on_download)
        plan = plan_features(features, preferred_features(), fps, options)
        used = plan.video_encoders()
        for sentence in plan.notes:
            note(sentence)
        with ReportFile(target.report, videos) as write:

            def listen(event: Event) -> None:
                on_event(event)
                write(event)

            done = extract_all(videos, plan, used, store, target.options(), on_event=listen)
    return done, [encoder.spec for encoder in used]


def _print_summary(done: ExtractionReport, specs: Sequence[FeatureSpec]) -> None:
    from vtg_cli.terminal.timecode import span

    video_s = sum(result.duration_s for result in done.results if result.status == "extracted")
    speed = f" ({video_s / done.seconds:.1f} × real time)" if done.extracted else ""
    out().print(
        f"{' + '.join(spec.name for spec in specs)}: {done.extracted} extracted{speed}, {done.cached} already there, "
        f"{done.failed} failed, in {span(done.seconds)}",
        soft_wrap=True,
    )

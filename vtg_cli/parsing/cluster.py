"""The options of extraction on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from extractors.errors import UsageError
from vtg_cli.parsing import values

if TYPE_CHECKING:
    from extractors.extraction.ray_cluster import WorkerShare
    from extractors.videos.events import ExtractionReport


@dataclass(frozen=True)
class ClusterArguments:
    """Which cluster extracts, and what each worker takes of it."""

    PANEL: ClassVar[str] = "Cluster"

    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="auto|local|ADDRESS",
            help="Extract on a Ray cluster: one that runs here, one of this machine alone, or one by HOST:PORT.",
        ),
    ] = None
    cpus_per_worker: Annotated[
        float,
        typer.Option(
            metavar="N",
            parser=values.number("--cpus-per-worker", least=0.01, most=1024),
            help="Cores per worker.",
        ),
    ] = 1.0
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            parser=values.number("--gpus-per-worker", least=0, most=64),
            help="GPUs per worker, or a part of one; 0 encodes on CPUs.",
            show_default="1 if the cluster has GPUs",
        ),
    ] = None
    memory_per_worker: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            parser=values.number("--memory-per-worker", least=0.1, most=4096),
            help="Memory that a worker needs.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--workers", least=1),
            help="The most workers at a time.",
            show_default="as many as there is room for",
        ),
    ] = None
    retries: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--retries", least=0, most=100),
            help="How often to try a video again whose worker died.",
        ),
    ] = 2

    def extract_with(self, device: str) -> partial[ExtractionReport]:
        """`extract_on_ray` with these options; arguments and errors as for `share`."""
        from extractors.extraction.ray_cluster import extract_on_ray

        return partial(
            extract_on_ray, share=self.share(device), most_workers=self.workers, retries=self.retries
        )

    def share(self, device: str) -> WorkerShare:
        """What a worker takes of the cluster that this process is connected to.

        Args:
            device: as of `--device`.

        Raises:
            UsageError: if the device is one that no node can be asked for, or this machine alone is too small.
        """
        from extractors.extraction.ray_cluster import WorkerShare, cluster_gpus, cluster_room

        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device {device}: with --ray, give auto, cpu or cuda; Ray chooses the GPU")
        gpus = self.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if device == "cuda" or (device == "auto" and cluster_gpus()) else 0.0
        elif bool(gpus) != (device == "cuda") and device != "auto":
            raise UsageError(f"--device {device} does not go with --gpus-per-worker {gpus:g}")
        share = WorkerShare(self.cpus_per_worker, gpus, round((self.memory_per_worker or 0.0) * 1e9))
        if self.ray == "local" and sum(cluster_room(share)) == 0:
            raise UsageError("--ray local: this machine has less than one worker takes")
        return share

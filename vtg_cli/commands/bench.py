"""`vtg bench`: how fast this machine extracts and grounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtg_cli.parsing import completion, values
from vtg_cli.parsing.options import Device, Precision, Quiet, Weights, weights_by_feature
from vtg_cli.terminal.console import err, out, print_json, verbosity

if TYPE_CHECKING:
    from extractors.benchmark.measure import Cost
    from model.grounding.benchmark import MachineReport

_VERSIONS = ("vtg", "torch", "open_clip_torch", "pytorchvideo", "decord", "av", "onnxruntime", "numpy")


def bench(
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            autocompletion=completion.features,
            help="Features to measure, separated by commas ({video_features}).",
            show_default="those that vtg chooses by itself",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="N",
            parser=values.number("--seconds", least=2, most=600),
            help="Length of the rendered video, in seconds.",
        ),
    ] = 20.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Weights = None,
    quiet: Quiet = False,
) -> None:
    """Measure decoding, each encoder, whole extractions and queries on this machine.

    This renders a short video in a temporary folder. Encoders without weights use random ones, which take the same
    time. Nothing is downloaded.

    [bold]Examples[/]

      vtg bench

      vtg bench --features lite --seconds 10

      vtg bench --json > bench.json
    """
    del quiet
    import tempfile
    from contextlib import nullcontext
    from pathlib import Path

    from extractors.encoders.base import EncoderOptions
    from model.grounding.benchmark import benchmark_machine
    from model.grounding.choice import automatic_features, feature_names

    names = automatic_features() if features is None else feature_names(features)
    options = EncoderOptions(device=device, precision=precision, weights=weights_by_feature(weights))
    status = nullcontext() if verbosity.quiet else err().status("measuring")
    with status, tempfile.TemporaryDirectory(prefix="vtg-bench-") as folder:
        report = benchmark_machine(names, seconds, options, Path(folder))
    document = _document(report, options.device, options.precision)
    if json:
        print_json(document)
    else:
        _print(document)


def _document(report: MachineReport, device: str, precision: str) -> dict[str, Any]:
    extraction = report.extraction
    video_s = extraction.info.duration_s
    return {
        "machine": _machine(device, precision),
        "versions": _versions(),
        "video": {
            "seconds": video_s,
            "width": extraction.info.width,
            "height": extraction.info.height,
            "fps": extraction.info.fps,
            "decoder": extraction.info.decoder,
        },
        "decoding": _speed(extraction.decoding, video_s),
        "encoders": [
            {
                "name": cost.name,
                "weights": report.weights[cost.name],
                "clips": cost.clips,
                "loading_s": cost.loading.wall_s,
                "ms_per_clip": 1e3 * cost.encoding.wall_s / cost.clips,
                **_speed(cost.encoding, video_s),
            }
            for cost in extraction.encoders
        ],
        "extraction": {
            "features": [cost.name for cost in extraction.encoders],
            **_speed(extraction.together, video_s),
        },
        "grounding": [
            {
                "model": cost.model,
                "clips": cost.clips,
                "first_ms": 1e3 * cost.first.wall_s,
                "query_ms": 1e3 * cost.new.wall_s,
                "repeated_query_ms": 1e3 * cost.repeated.wall_s,
                "batched_query_ms": 1e3 * cost.batched.wall_s,
            }
            for cost in report.grounding
        ],
        "peak_memory_mb": report.peak_memory_bytes / 1e6,
    }


def _speed(cost: Cost, video_s: float) -> dict[str, float]:
    return {
        "wall_s": cost.wall_s,
        "cpu_s": cost.cpu_s,
        "times_real_time": video_s / cost.wall_s,
        "real_time_factor": cost.wall_s / video_s,
    }


def _machine(device_name: str, precision: str) -> dict[str, Any]:
    import torch

    from extractors.benchmark.machine import machine
    from extractors.compute.device import resolve_device, resolve_precision

    device = resolve_device(device_name)
    return {
        **machine(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "precision": str(resolve_precision(precision, device)).removeprefix("torch."),
    }


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in _VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _print(document: dict[str, Any]) -> None:
    from rich.markup import escape

    machine, video = document["machine"], document["video"]
    console = out()
    console.print("[dim]" + escape(" · ".join(f"{k} {v}" for k, v in document["versions"].items())) + "[/]")
    console.print(
        escape(
            f"{machine['cpu']} · {machine['cores']} cores · {machine['system']} · "
            f"{machine['gpu'] or machine['device']}, {machine['threads']} threads, {machine['precision']}"
        )
    )
    console.print(
        f"{video['seconds']:.0f} s of {video['width']}×{video['height']} at {video['fps']:.0f} FPS, "
        f"rendered; read with {video['decoder']}\n"
    )
    _print_extraction(document)
    if document["grounding"]:
        console.print()
        _print_grounding(document["grounding"])
    console.print()
    console.print(f"peak memory: {document['peak_memory_mb']:.0f} MB")


def _print_extraction(document: dict[str, Any]) -> None:
    from vtg_cli.terminal.table import print_table

    def row(name: str, speed: dict[str, Any], *rest: str) -> tuple[str, ...]:
        speeds = f"{speed['wall_s']:.2f}", f"{speed['cpu_s']:.2f}", f"{speed['times_real_time']:.1f}"
        return name, *speeds, *(rest or ("", "", ""))

    rows = [row("decoding", document["decoding"])]
    for encoder in document["encoders"]:
        per_clip, loading = f"{encoder['ms_per_clip']:.1f}", f"{encoder['loading_s']:.1f}"
        rows.append(row(encoder["name"], encoder, per_clip, loading, encoder["weights"]))
    rows.append(row("all, file to cache", document["extraction"]))
    headings = ("", "wall s", "CPU s", "× real time", "ms per clip", "loading s", "weights")
    print_table(headings, rows, right=range(1, 6))


def _print_grounding(rows: list[dict[str, Any]]) -> None:
    from vtg_cli.terminal.table import print_table

    table = []
    for row in rows:
        name = row["model"] if row["model"] == "zero-shot" else f"{row['model']}, random weights"
        times = (row[key] for key in ("first_ms", "query_ms", "repeated_query_ms", "batched_query_ms"))
        table.append((name, *(f"{value:.1f}" for value in times), str(row["clips"])))
    headings = ("ms per query, 150 s of video", "first", "new", "repeated", "64 at once", "clips")
    print_table(headings, table, right=range(1, 6))

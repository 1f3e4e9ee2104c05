"""Checks a dataset before training: are its files there, do they match, can they be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from extractors.errors import VtgError
from model.config import Config, FeatureConfig
from model.dataset_entry import DatasetInfo
from model.datasets.annotations import Annotation, read_annotations
from model.datasets.features import TEXT_KEY, FeatureFolder
from model.datasets.fit import duration_differs
from model.datasets.library.catalogue import Requirement, requirements

Progress = Callable[[int, int], None]
"""Called with the files that were opened and the files there are."""

_FIRST = 3


@dataclass(frozen=True)
class Finding:
    """What was found of one requirement.

    Attributes:
        requirement: what is asked for.
        status: `ok`; `missing`; `optional`, missing but not needed; `faulty`, there but not as it should be.
        detail: what was seen.
    """

    requirement: Requirement
    status: Literal["ok", "missing", "optional", "faulty"]
    detail: str


def check_dataset(
    info: DatasetInfo, config: Config, folder: Path, *, deep: bool = False, progress: Progress | None = None
) -> tuple[Finding, ...]:
    """Compare what lies in a dataset's folder with what a configuration reads.

    Args:
        info: the dataset.
        config: the configuration.
        folder: of the dataset.
        deep: open every feature file too.
        progress: called for every file that is opened.

    Returns:
        A finding for each of `requirements`, in that order.
    """
    train, evaluation, *streams = requirements(config, folder)
    findings, annotations = [], []
    for wanted in (train, evaluation):
        finding, read = _check_annotations(info, config, wanted)
        findings.append(finding)
        annotations += read
    specs = (*config.data.video_features, config.data.text_features)
    for wanted, spec in zip(streams, specs, strict=True):
        stream = _Stream(spec, wanted.path, config, is_text=spec is config.data.text_features)
        findings.append(_check_stream(wanted, stream, annotations, deep, progress))
    return tuple(findings)


def _check_annotations(
    info: DatasetInfo, config: Config, wanted: Requirement
) -> tuple[Finding, list[Annotation]]:
    if not wanted.present:
        return _absent(wanted), []
    try:
        annotations = read_annotations(wanted.path, config.data.dataset)
    except VtgError as error:
        return Finding(wanted, "faulty", str(error)), []
    videos = len({annotation.vid for annotation in annotations})
    detail = f"{len(annotations):,} rows, {videos:,} videos"
    published = next((item for item in info.annotations if item.file == wanted.path.name), None)
    if published is None:
        return Finding(wanted, "ok", detail), annotations
    if len(annotations) != published.rows:
        return Finding(
            wanted, "faulty", f"{detail}; the published file has {published.rows:,} rows"
        ), annotations
    if published.sha256 and hashlib.sha256(wanted.path.read_bytes()).hexdigest() != published.sha256:
        detail += "; edited, or another edition than the published one"
    return Finding(wanted, "ok", detail), annotations


@dataclass(frozen=True)
class _Stream:
    """A folder of features, and how its files are named and how long they should be."""

    spec: FeatureConfig
    path: Path
    config: Config
    is_text: bool

    def stems(self, annotation: Annotation) -> tuple[str, ...]:
        if self.is_text:
            return f"qid{annotation.qid}", str(annotation.qid)
        return (annotation.vid,)

    def folder(self) -> FeatureFolder:
        if self.is_text:
            return FeatureFolder(self.path, self.spec.name, self.spec.dim, key=TEXT_KEY)
        return FeatureFolder(self.path, self.spec.name, self.spec.dim)

    def has_odd_length(self, annotation: Annotation, rows: int) -> bool:
        """Whether a file has clearly more or fewer rows than its video has clips."""
        if self.is_text:
            return False
        if not self.config.data.annotates_moments and annotation.saliency is not None:
            return rows < len(annotation.saliency)
        clip_s = self.config.data.clip_length_s
        return duration_differs(annotation.duration_s, rows * clip_s, clip_s)


def _check_stream(
    wanted: Requirement,
    stream: _Stream,
    annotations: Sequence[Annotation],
    deep: bool,
    progress: Progress | None,
) -> Finding:
    if not wanted.present:
        return _absent(wanted)
    if not annotations:
        return Finding(wanted, "ok", "here; its files are not counted, because annotations are missing")
    folder = stream.folder()
    owners = {stream.stems(annotation): annotation for annotation in annotations}
    missing = [stems[0] for stems in owners if not any(map(folder.find, stems))]
    kind = "queries" if stream.is_text else "videos"
    detail = f"{len(owners) - len(missing):,} of {len(owners):,} {kind}"
    if missing:
        detail += f"; without a file: {_first(missing)}"
    damaged, odd = [], []
    if deep:
        absent = set(missing)
        opened = [(stems, owner) for stems, owner in owners.items() if stems[0] not in absent]
        for number, (stems, owner) in enumerate(opened):
            if progress is not None:
                progress(number, len(opened))
            try:
                rows = folder.load(*stems)
            except VtgError as error:
                damaged.append(str(error))
            else:
                if stream.has_odd_length(owner, len(rows)):
                    odd.append(f"{stems[0]} ({len(rows)} rows)")
        if damaged:
            detail += f"; {len(damaged):,} cannot be read, the first: {damaged[0]}"
        if odd:
            detail += f"; {len(odd):,} do not fit the length of their video: {_first(odd)}"
        if not damaged and not odd:
            detail += "; all readable"
    return Finding(wanted, "faulty" if missing or damaged else "ok", detail)


def _absent(wanted: Requirement) -> Finding:
    return Finding(wanted, "optional" if wanted.optional else "missing", wanted.how)


def _first(names: Sequence[str]) -> str:
    more = f", and {len(names) - _FIRST:,} more" if len(names) > _FIRST else ""
    return ", ".join(names[:_FIRST]) + more

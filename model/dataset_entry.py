"""Datasets by name: all that is particular to each, one entry with all its facts.

The entries of vtg are TOML files in `dataset_entries/`, one per dataset; `register` adds others. A file holds the
fields of `DatasetInfo`. `features` is a table there, `annotations` and `archives` are lists of tables. Links may begin
with a host of `hosts.toml` in braces. An archive on the Hugging Face hub names its `hf_dataset` and `revision` in place
of `page` and `url`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from extractors.errors import UsageError
from extractors.files.toml import packaged_table
from extractors.plugins import Registry, known

OWN = "custom"
"""Name of the entry that stands for the user's own data."""

_FOLDER = "dataset_entries"
_HUB = "{hugging_face}"  # left in links, to follow the environment


@dataclass(frozen=True)
class AnnotationFile:
    """A published file of annotations.

    Attributes:
        file: its name.
        split: what it holds, for people.
        rows: number of annotations.
        urls: direct links, tried in order.
        size_bytes: of the published file; None if unknown.
        sha256: of the published file; empty if unknown.
    """

    file: str
    split: str
    rows: int
    urls: tuple[str, ...]
    size_bytes: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class FeatureArchive:
    """A published archive of features.

    Attributes:
        name: of the file, as its publisher calls it.
        size_text: its size, for people.
        streams: what it holds.
        page: where a person finds it.
        url: a direct link; empty where only a person can download it.
        also: further pages with the same features.
        size_bytes: of the published file; None if unknown.
        sha256: of the published file; empty if unknown.
    """

    name: str
    size_text: str
    streams: tuple[str, ...]
    page: str
    url: str = ""
    also: tuple[str, ...] = ()
    size_bytes: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset. Code is named as `package.module:name`, or given as the object itself.

    Attributes:
        name: as in `DataConfig.dataset`.
        title: as its authors write it.
        aliases: other names it goes by.
        licence: of its annotations.
        page: its home.
        configs: configurations that use it, the default first.
        folders: names its folder may have under the data root: vtg's own first, then published ones.
        annotations: its files.
        features: stream → folders that may hold it, in the order they are looked for; a stream that is not listed has
            `<stream>_features`.
        archives: published archives of features.
        has_moments: whether moments are annotated; if not, only saliency is learnt, and scored per domain.
        scores_saliency: whether saliency curves are part of its predictions.
        saliency: reads the labels of a line, as `model.datasets.annotations.scored_clips` does; None if it has none.
        duration_unit_s: seconds that one unit of `duration` stands for.
        precision: of a dataset without moments: the average precision of each video, as
            `model.metrics.domains.tvsum_precision` gives it.
        vids_name_source: whether ids of videos are `<source>_<start>_<end>`, so that two may be cut from one source.
        is_general: whether its videos and queries are of all kinds; models trained on it answer before others.
        is_own: whether it stands for the user's own data, whose files and fields are known by their form alone.
    """

    name: str
    title: str
    aliases: tuple[str, ...] = ()
    licence: str = ""
    page: str = ""
    configs: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    annotations: tuple[AnnotationFile, ...] = ()
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    archives: tuple[FeatureArchive, ...] = ()
    has_moments: bool = True
    scores_saliency: bool = True
    saliency: str | Callable[[Mapping[str, Any]], Any] | None = None
    duration_unit_s: float = 1.0
    precision: str | Callable[..., Any] | None = None
    vids_name_source: bool = False
    is_general: bool = False
    is_own: bool = False


def _table(name: str) -> dict[str, Any]:
    return packaged_table(__package__, f"{_FOLDER}/{name}")


def _own() -> list[DatasetInfo]:
    tables = (
        _table(entry.name)
        for entry in (files(__package__) / _FOLDER).iterdir()
        if entry.name.endswith(".toml")
    )
    return [dataset_from_table(table) for table in tables if "name" in table]


_DATASETS = Registry[DatasetInfo](_own)

register = _DATASETS.register
own_datasets = _DATASETS.own
find_dataset = _DATASETS.find


def datasets() -> tuple[DatasetInfo, ...]:
    """Every dataset that is published somewhere; links follow `HF_ENDPOINT` as it is now."""
    return tuple(_linked(info) for info in _DATASETS.all() if not info.is_own)


def dataset_info(name: str) -> DatasetInfo:
    """A published dataset by its name or an alias; case does not count, nor `-` for `_`.

    Raises:
        UsageError: if there is none; the message lists the names.
    """
    wanted = _plain(name)
    for info in datasets():
        if wanted in map(_plain, (info.name, *info.aliases)):
            return info
    raise UsageError(f"no dataset is named '{name}'; known are {known([info.name for info in datasets()])}")


def require_dataset(name: str) -> DatasetInfo:
    """The entry of exactly this name, `custom` among them.

    Raises:
        UsageError: if there is none; the message lists the names.
    """
    info = find_dataset(name)
    if info is None:
        names = known([repr(info.name) for info in _DATASETS.all()])
        raise UsageError(f"must be one of {names}, is {name!r}")
    return _linked(info)


def dataset_from_table(table: Mapping[str, Any]) -> DatasetInfo:
    """The entry that a TOML table describes.

    Raises:
        TypeError: if a field is unknown or missing.
    """
    hosts = _table("hosts.toml") | {"hugging_face": _HUB}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    values["folders"] = values.get("folders", (table["name"],))
    values["annotations"] = tuple(
        AnnotationFile(**entry | {"urls": _links(entry["urls"], hosts)})
        for entry in table.get("annotations", ())
    )
    values["features"] = {stream: tuple(names) for stream, names in table.get("features", {}).items()}
    values["archives"] = tuple(_archive(entry, hosts) for entry in table.get("archives", ()))
    return DatasetInfo(**values)


def _archive(row: Mapping[str, Any], hosts: Mapping[str, str]) -> FeatureArchive:
    page, url = row.get("page", "").format(**hosts), ""
    if "hf_dataset" in row:
        page = f"{_HUB}/datasets/{row['hf_dataset']}"
        url = f"{page}/resolve/{row['revision']}/{row['file']}"
    return FeatureArchive(
        name=row["file"],
        size_text=row["size"],
        streams=tuple(row["streams"]),
        page=page,
        url=url,
        also=_links(row.get("also", ()), hosts),
        size_bytes=row.get("size_bytes"),
        sha256=row.get("sha256", ""),
    )


def _links(links: Any, hosts: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(link.format(**hosts) for link in links)


def _linked(info: DatasetInfo) -> DatasetInfo:
    """The entry with the hub's address, or that of its mirror, in its links."""
    hub = os.environ.get("HF_ENDPOINT") or _table("hosts.toml")["hugging_face"]
    return _linked_to(info.name, hub.rstrip("/"))


@cache
def _linked_to(name: str, hub: str) -> DatasetInfo:
    info = find_dataset(name)
    assert info is not None, "its entry was at hand"
    archives = (
        replace(item, page=item.page.replace(_HUB, hub), url=item.url.replace(_HUB, hub))
        for item in info.archives
    )
    return replace(info, archives=tuple(archives))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")

"""The scores printed in the papers, shown next to measured ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class PublishedRow:
    """Printed numbers of a configuration.

    Attributes:
        source: where they stand.
        metrics: published key, or domain, to percent.
    """

    source: str
    metrics: Mapping[str, float]


def published_row(config: str, split: str) -> PublishedRow | None:
    """The printed numbers of a configuration on a file of annotations; None if there are none."""
    text = (files(__package__) / "published.toml").read_text(encoding="utf-8")
    for row in tomllib.loads(text)["row"]:
        if row["config"] == config and row["split"] == split:
            return PublishedRow(row["source"], row["metrics"])
    return None

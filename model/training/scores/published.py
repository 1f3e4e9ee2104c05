"""The scores printed in the papers, shown next to measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from extractors.files.toml import packaged_table


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
    for row in packaged_table(__package__, "published.toml")["row"]:
        if row["config"] == config and row["split"] == split:
            return PublishedRow(row["source"], row["metrics"])
    return None

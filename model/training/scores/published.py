"""The scores printed in the papers, shown next to measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from extractors.files.toml import packaged_table


@dataclass(frozen=True)
class PublishedRow:
    """Published scores of a configuration.

    Attributes:
        source: where they are printed.
        metrics: percentages by published key or by domain.
    """

    source: str
    metrics: Mapping[str, float]


def published_row(config: str, split: str) -> PublishedRow | None:
    """Return the published scores of a configuration on an annotation file; None if there are none."""
    for row in packaged_table(__package__, "published.toml")["row"]:
        if row["config"] == config and row["split"] == split:
            return PublishedRow(row["source"], row["metrics"])
    return None

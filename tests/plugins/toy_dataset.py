"""A dataset of another package: lines with moments in frames of a tenth of a second, and stars from 0 to 4 per clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.dataset_entry import AnnotationFile, DatasetInfo, register


def stars(row: Mapping[str, Any]) -> tuple[np.ndarray, tuple[int, ...]]:
    """(N,) saliency in 0 … 12, and the clips that have a star."""
    saliency = np.array(row["stars"], np.float32) * 3
    return saliency, tuple(np.flatnonzero(saliency).tolist())


register(
    DatasetInfo(
        name="toys",
        title="Toys",
        aliases=("toy",),
        licence="none",
        page="https://example.com/toys",
        configs=("custom-lite",),
        folders=("toys",),
        annotations=(AnnotationFile("toys_val.jsonl", "val", 1, ()),),
        features={"lite": ("lite_features",)},
        saliency=stars,
        duration_unit_s=0.1,
    )
)

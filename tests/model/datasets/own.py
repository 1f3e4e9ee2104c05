"""A small set of the user's own data: annotations with few fields, and feature files for `custom-slowfast-clip`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.model.datasets.small import random_rows

CLIPS = 5
"""Of each video, of 2 s."""


class OwnData:
    """Annotations and features in a folder, without qid and duration."""

    def __init__(self, folder: Path, videos: int = 12) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = [
            {"vid": f"v{n}", "query": f"a dog {n}", "relevant_windows": [[2, 6]]} for n in range(videos)
        ]
        rng = np.random.default_rng(0)
        for n in range(videos):
            self.put("slowfast_features", f"v{n}", random_rows(rng, CLIPS, 3))
            self.put("clip_features", f"v{n}", random_rows(rng, CLIPS, 2))
            self.put("clip_text_features", f"qid{n}", random_rows(rng, 4, 4), key="last_hidden_state")

    def put(self, stream: str, stem: str, rows: NDArray[Any], key: str = "features") -> Path:
        path = self.folder / stream / f"{stem}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **{key: rows})
        return path

    def write(self, rows: Sequence[dict[str, Any]] | None = None, name: str = "mine.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows or self.rows))
        return path

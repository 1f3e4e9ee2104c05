"""`--preset best`: applies together the changes to a configuration whose effects docs/results.md measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from extractors.errors import UsageError
from extractors.files.toml import packaged_table
from model.config import Config, override_config
from model.training.pretraining.teacher import teacher_stream

PRESETS = ("best",)


def with_preset(config: Config, preset: str, queries: int | None, overrides: Sequence[str] = ()) -> Config:
    """Apply a preset to a configuration.

    Args:
        config: the experiment.
        preset: one of `PRESETS`.
        queries: number of queries to train on; None if unknown.
        overrides: the user's own changes, which take precedence.

    Raises:
        UsageError: if there is no such preset, or none for a dataset without moments.
    """
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: there is no such preset; known is {', '.join(PRESETS)}")
    if not config.data.annotates_moments:
        raise UsageError(
            f"--preset {preset}: is for datasets with moments, and {config.name} has highlights alone"
        )
    table = packaged_table(__package__, f"{preset}.toml")
    changes = _changes(table["any"])
    if (stream := teacher_stream(config)) is not None:
        changes += [f"model.alignment_dim={stream.dim}", *_changes(table["aligned"])]
    small = table["small"]
    if queries is not None and queries <= small["most_queries"]:
        steps = max(queries // config.training.batch_size, 1)
        changes.append(f"training.epochs={max(config.training.epochs, math.ceil(small['steps'] / steps))}")
    return override_config(config, [*changes, *overrides])


def _changes(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"{table}.{key}={value}" for table, fields in tables.items() for key, value in fields.items()]

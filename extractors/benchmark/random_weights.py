"""Weights files of the real architectures, filled from a seed.

They take as long to read and run as trained ones, so speed can be measured without weights.
"""

from __future__ import annotations

from pathlib import Path

from extractors.encoders.registry import features, find_feature
from extractors.errors import UsageError
from extractors.plugins import imported


def write_random_weights(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a file that the encoders of a feature can read, of the size and form of a published one.

    Args:
        name: of the feature.
        folder: where to; must exist.
        seed: of the random numbers; the global generator is left as it was.

    Returns:
        The file.

    Raises:
        UsageError: if the feature has no weights.
    """
    feature = find_feature(name)
    if feature is None or feature.write_random_weights is None:
        able = ", ".join(feature.name for feature in features() if feature.write_random_weights is not None)
        raise UsageError(f"'{name}' has no weights to be made up; known are {able}")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        path: Path = imported(feature.write_random_weights)(folder)
    return path

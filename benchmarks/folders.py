"""Where benchmarks put what they make."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working_folder(kept: Path | None) -> Iterator[Path]:
    """A folder for rendered videos and the like: the given one, made if missing and kept, or a temporary one."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)

"""The Python API under the product's own name.

    from vtg import Grounder

The same names as in `model`, for scripts and notebooks that have a `model.py` of their own nearby: where that file
hides vtg's package, importing this module fails with a message that names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtg_cli.packages import require_own_packages

require_own_packages()

import model as _api  # noqa: E402 - after the check

if TYPE_CHECKING:
    from model import (
        CueGrounder,
        EncodedVideo,
        Filters,
        Grounded,
        Grounder,
        GroundingResult,
        Hit,
        Library,
        Moment,
        Quote,
        Saliency,
        SearchResult,
    )

__all__ = [
    "CueGrounder",
    "EncodedVideo",
    "Filters",
    "Grounded",
    "Grounder",
    "GroundingResult",
    "Hit",
    "Library",
    "Moment",
    "Quote",
    "Saliency",
    "SearchResult",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use, as in `model`.
    if name not in __all__:
        raise AttributeError(f"module 'vtg' has no attribute '{name}'")
    return getattr(_api, name)


def __dir__() -> list[str]:
    return sorted(__all__)

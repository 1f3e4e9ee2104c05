"""Everything that learns, scores and measures.

from model import Grounder
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.encoded import EncodedVideo as EncodedVideo
    from model.grounder import Grounder as Grounder
    from model.moments import GroundingResult as GroundingResult
    from model.moments import Moment as Moment
    from model.moments import Saliency as Saliency

_HOMES = {
    "Grounder": "model.grounder",
    "EncodedVideo": "model.encoded",
    "GroundingResult": "model.moments",
    "Moment": "model.moments",
    "Saliency": "model.moments",
}

__all__ = ["EncodedVideo", "Grounder", "GroundingResult", "Moment", "Saliency"]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that importing a small module of this package stays instant.
    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

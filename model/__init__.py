"""Everything that learns, scores and measures.

from model import Grounder
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.cues.grounder import CueGrounder as CueGrounder
    from model.grounding.encoded import EncodedVideo as EncodedVideo
    from model.grounding.grounder import Grounder as Grounder
    from model.grounding.results import GroundingResult as GroundingResult
    from model.grounding.results import Moment as Moment
    from model.grounding.results import Quote as Quote
    from model.grounding.results import Saliency as Saliency
    from model.search.filters import Filters as Filters
    from model.search.library import Library as Library
    from model.search.ranking import Grounded as Grounded
    from model.search.results import Hit as Hit
    from model.search.results import SearchResult as SearchResult

_HOMES = {
    "CueGrounder": "model.cues.grounder",
    "Grounder": "model.grounding.grounder",
    "EncodedVideo": "model.grounding.encoded",
    "GroundingResult": "model.grounding.results",
    "Moment": "model.grounding.results",
    "Quote": "model.grounding.results",
    "Saliency": "model.grounding.results",
    "Filters": "model.search.filters",
    "Library": "model.search.library",
    "Grounded": "model.search.ranking",
    "Hit": "model.search.results",
    "SearchResult": "model.search.results",
}

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
    # Loaded on first use, so that importing a small module of this package stays instant.
    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

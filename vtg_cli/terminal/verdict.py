"""What people read about an answer without a clear match."""

from __future__ import annotations

from collections.abc import Sequence

from model.grounding.choice import preferred_aligned_features
from model.grounding.results import GroundingResult
from model.search.results import SearchResult
from vtg_cli.terminal.console import counted

_WORDS = {"subtitles": "of the subtitles", "screen": "on the screen", "speech": "of the speech"}
_UNSEEN = {
    "people": "people",
    "actions": "actions",
    "attributes": "colours, sizes and other attributes",
    "text": "written words",
}


def basis(result: GroundingResult) -> str:
    """What answered, and from what: `zero-shot on lite features`, `words of the subtitles`, or both."""
    if result.is_quoted:
        return _words(result.features)
    pictures = f"{result.model} on {' + '.join(result.features)} features"
    return f"{pictures}, {_words(result.sources)}" if result.sources else pictures


def _words(sources: Sequence[str]) -> str:
    return f"words {' and '.join(_WORDS[source] for source in sources)}"


def verdict(result: GroundingResult) -> str | None:
    """A sentence for a result without a clear match, or None: nothing matches, or the features cannot see it."""
    if result.clear_match is not False:
        return None
    if result.blind_spot is not None:
        return unseen(result.blind_spot, result.features, guesses=bool(result.moments))
    places = "; these are only the likeliest places" if result.moments else ""
    return f"Nothing here matches clearly{places}."


def unseen(blind_spot: str, features: Sequence[str], *, guesses: bool) -> str:
    """A sentence for a query about what the features cannot see, with guesses or without."""
    so = ", so these are only guesses" if guesses else ""
    seeing = " or ".join(preferred_aligned_features())
    return f"The {' + '.join(features)} features cannot see {_UNSEEN[blind_spot]}{so}; the {seeing} features can."


def search_verdict(result: SearchResult) -> str:
    """A sentence for a query without a clear match, or without a hit."""
    if not result.videos:
        return "There is no video to search."
    searched = counted(result.videos, "video")
    if result.clear_match is False:
        if result.blind_spot is not None and result.answers:
            return unseen(result.blind_spot, result.answers[0].features, guesses=bool(result.hits))
        places = "; these are only the likeliest places" if result.hits else ""
        said = {"subtitles": "said ", "screen": "written "}.get(result.quoted, "")
        return f"Nothing {said}in {searched} matches clearly{places}."
    return "" if result.hits else f"No moment of {searched} reaches the threshold."

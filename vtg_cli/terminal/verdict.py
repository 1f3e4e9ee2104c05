"""What people read about an answer without a clear match."""

from __future__ import annotations

from model.grounding.choice import preferred_aligned_features
from model.grounding.results import GroundingResult

_UNSEEN = {
    "people": "people",
    "actions": "actions",
    "attributes": "colours, sizes and other attributes",
    "text": "written words",
}


def verdict(result: GroundingResult) -> str | None:
    """A sentence for a result without a clear match, or None: nothing matches, or the features cannot see it."""
    if result.clear_match is not False:
        return None
    if result.blind_spot is not None:
        guesses = ", so these are only guesses" if result.moments else ""
        features = " + ".join(result.features)
        seeing = " or ".join(preferred_aligned_features())
        return f"The {features} features cannot see {_UNSEEN[result.blind_spot]}{guesses}; the {seeing} features can."
    places = "; these are only the likeliest places" if result.moments else ""
    return f"Nothing here matches clearly{places}."

"""What is looked for in words, of one video or of many, and whether speech is transcribed for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError
from vtg_cli.commands.cues.speech import SpeechWeights, wanted_speech

if TYPE_CHECKING:
    from extractors.cues.cue import Source
    from extractors.cues.speech.weights import SpeechModel

Said = Annotated[
    list[str] | None,
    typer.Option(
        "--said",
        metavar="WORDS",
        help="Find where this is said, by the words of subtitles and of transcribed speech and by their meaning; can "
        "be given several times.",
    ),
]


@dataclass(frozen=True)
class WantedWords:
    """What is said and written that people look for; commands add what their options mean for them."""

    said: Said = None
    written: list[str] | None = None
    speech: bool = False
    speech_model: SpeechWeights = None
    cues: bool | None = None

    @property
    def is_asked(self) -> bool:
        """Whether something is asked of words alone."""
        return bool(self.said or self.written)

    def asked(self) -> Iterator[tuple[Source, list[str]]]:
        """The queries for words alone, with where each is looked for."""
        if self.said:
            yield "subtitles", self.said
        if self.written:
            yield "screen", self.written

    def check_words(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            UsageError: if a text is empty, or an option plays no part.
            WeightsMissing, WeightsInvalid: if the weights that are to transcribe speech are not here.
        """
        if (self.speech or self.speech_model is not None) and not self.said and not self.cues:
            raise UsageError("--speech: goes with --said or --cues")
        self.weights()
        if self.is_asked:
            from model.grounding.grounder import check_queries

            check_queries([*(self.said or ()), *(self.written or ())])

    def weights(self) -> SpeechModel | bool:
        """As `wanted_speech`."""
        return wanted_speech(self.speech, self.speech_model)

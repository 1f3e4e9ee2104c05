"""What transcribes speech, as people name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vtg_cli.parsing import completion

if TYPE_CHECKING:
    from extractors.cues.speech.weights import SpeechModel

SpeechWeights = Annotated[
    str | None,
    typer.Option(
        "--speech-model",
        metavar="NAME|FOLDER",
        autocompletion=completion.speech_weights,
        help="The weights that transcribe speech, by name or as the folder of a Whisper model of CTranslate2. With it, "
        "--speech can be left out.",
        show_default="the best on this machine",
    ),
]


def wanted_model(name: str | None) -> SpeechModel:
    """The weights that an option names; the best on this machine if it is not given.

    Raises:
        UsageError, WeightsMissing, WeightsInvalid: as `find_speech_model`.
    """
    from extractors.cues.speech.weights import find_speech_model

    return find_speech_model(name)


def wanted_speech(speech: bool, name: str | None) -> SpeechModel | bool:
    """Whether speech is to be transcribed, or the weights that are named for it; raises as `wanted_model`."""
    return speech if name is None else wanted_model(name)

"""Which Whisper transcribes: weights known by name, or a folder of the user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from extractors.errors import UsageError, WeightsInvalid, WeightsMissing
from extractors.files.identity import file_identity

PACKAGE = "faster_whisper"
SPEECH_MODEL = "VTG_SPEECH_MODEL"
"""Environment variable: which weights transcribe speech, by name, or their folder."""

DEFAULT = "whisper-small"
# The best one that is on this machine is taken if nobody names one.
_BEST_FIRST = ("whisper-large-v3-turbo", DEFAULT, "whisper-base", "whisper-tiny")
_WEIGHTS = "model.bin"
_NEEDED = (_WEIGHTS, "config.json", "tokenizer.json")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")


@dataclass(frozen=True)
class SpeechModel:
    """Weights that transcribe.

    Attributes:
        name: of the weights, or of their folder.
        folder: holds `model.bin` of CTranslate2, with what belongs to it.
        identity: of their content; other weights give other cues.
    """

    name: str
    folder: Path
    identity: str


def require_package() -> None:
    """Raise WeightsMissing if the package that runs the weights is not installed; nothing is loaded."""
    if find_spec(PACKAGE) is None:
        raise WeightsMissing(
            "speech is transcribed by faster-whisper, which is not installed: pip install 'vtg[speech]'"
        )


def find_speech_model(wanted: str | None = None) -> SpeechModel:
    """The weights to transcribe with; nothing is downloaded or loaded.

    Args:
        wanted: a name, or a folder; `VTG_SPEECH_MODEL` by default, and without it the best weights on this machine.

    Raises:
        UsageError: if `wanted` is neither a name nor a folder.
        WeightsMissing: if the package or the weights are not on this machine; the message says how to get them.
        WeightsInvalid: if a folder holds no weights of this kind.
    """
    from extractors.weights.store import artefact, artefacts, find, require  # with all that downloads need

    require_package()
    wanted = wanted or os.environ.get(SPEECH_MODEL) or None
    if wanted is None:
        here = next((name for name in _BEST_FIRST if find(name) is not None), None)
        if here is None:
            size = artefact(DEFAULT).size_text
            raise WeightsMissing(
                f"no weights that transcribe speech are on this machine: vtg weights pull {DEFAULT} ({size})"
            )
        return _at(here, require(here).parent)
    known = [item.name for item in artefacts() if item.kind == "speech"]
    if wanted in known:
        return _at(wanted, require(wanted).parent)
    folder = Path(wanted).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--speech-model {wanted}: is neither a folder nor one of {', '.join(known)}")
    return _at(folder.resolve().name, folder.resolve())


def _at(name: str, folder: Path) -> SpeechModel:
    missing = [file for file in _NEEDED if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in _VOCABULARIES):
        missing.append(" or ".join(_VOCABULARIES))
    if missing:
        raise WeightsInvalid(
            f"{folder}: holds no Whisper model of CTranslate2; there is no {' and no '.join(missing)}"
        )
    try:
        return SpeechModel(name, folder, file_identity(folder / _WEIGHTS))
    except OSError as error:
        raise WeightsInvalid(f"{folder / _WEIGHTS}: cannot be read ({error.strerror})") from error

"""What is said in a stretch of sound, by Whisper in CTranslate2.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022; the networks are under MIT.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from extractors.cues.speech.sentences import Word
from extractors.cues.speech.voice import Stretch
from extractors.cues.speech.weights import require_package
from extractors.errors import WeightsInvalid, WeightsMissing
from extractors.subprocesses.cores import usable_cores

TRANSCRIBER_ID = "1"
"""Raised whenever the same sound and weights would give other words."""

_SURE = 0.5  # of the language: one that is as likely is that of the rest, too
_TEMPERATURES = (0.0, 0.4, 0.8)  # Whisper's own six make noise cost twice as much
_MOST_REPETITIVE = 2.4  # compression of a text; Whisper's own limit for what it reads again
_TOKENIZER = "tokenizer.json"
# Only used to convert weights, and slow to import.
_NOT_NEEDED = ("torch", "transformers")


class Transcriber:
    """Transcribes speech on the CPU. Nothing is ever downloaded.

    Args:
        folder: the weights, as of `SpeechModel.folder`.
        language: of what is said, such as `en`; empty to find it out.

    Raises:
        WeightsMissing: if the package is not installed, or cannot be loaded.
        WeightsInvalid: if the weights cannot be loaded.
    """

    def __init__(self, folder: Path, language: str = "") -> None:
        require_package()
        if not (folder / _TOKENIZER).is_file():  # one would be downloaded
            raise WeightsInvalid(f"{folder}: no Whisper model that can be loaded (there is no {_TOKENIZER})")
        try:
            with _without(*_NOT_NEEDED):
                import ctranslate2
                from faster_whisper import WhisperModel
        except (ImportError, OSError) as error:
            raise WeightsMissing(
                f"faster-whisper, which transcribes speech, cannot be loaded: {error}"
            ) from error
        ctranslate2.set_random_seed(0)
        try:
            self._model: Any = WhisperModel(
                str(folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=usable_cores(),
                local_files_only=True,
            )
        except Exception as error:  # the tokenizer raises plain ones
            reason = str(error).strip().partition("\n")[0][:200]
            raise WeightsInvalid(f"{folder}: no Whisper model that can be loaded ({reason})") from error
        self._sure_language = language
        self._heard: Counter[str] = Counter()

    @property
    def language(self) -> str:
        """The language of most of what was transcribed, such as `en`; empty if nothing was."""
        return self._heard.most_common(1)[0][0] if self._heard else ""

    def words(self, stretch: Stretch) -> Iterator[Word]:
        """The words of a stretch in order. What is more likely noise than words is left out."""
        language = self._language(stretch)
        segments, _ = self._model.transcribe(
            stretch.samples,
            language=language,
            temperature=_TEMPERATURES,
            condition_on_previous_text=False,  # an error would be carried on
            word_timestamps=True,
        )
        for segment in segments:
            if segment.compression_ratio > _MOST_REPETITIVE:
                continue
            for word in segment.words or ():
                self._heard[language] += 1
                start_s, end_s = (stretch.start_s + float(time_s) for time_s in (word.start, word.end))
                yield Word(start_s, end_s, word.word, float(word.probability))

    def _language(self, stretch: Stretch) -> str:
        if not self._model.model.is_multilingual:
            return "en"
        if self._sure_language:
            return self._sure_language
        language, probability, _ = self._model.detect_language(stretch.samples)
        if probability >= _SURE:
            self._sure_language = str(language)
        return str(language)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Let imports fail that only save time if they do."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

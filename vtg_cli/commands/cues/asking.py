"""What `vtg ground` is asked about what is said and written: its options, and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError
from extractors.places import Address, Place
from vtg_cli.commands.cues.speech import SpeechWeights, wanted_model
from vtg_cli.terminal.console import note, printable

if TYPE_CHECKING:
    from extractors.cache.store import FeatureCache
    from extractors.cues.cue import Source, Transcript
    from extractors.cues.speech.weights import SpeechModel
    from model.cues.grounder import CueGrounder
    from model.grounding.results import GroundingResult
    from vtg_cli.parsing.arguments import SearchArguments


Said = Annotated[
    list[str] | None,
    typer.Option(
        "--said",
        metavar="WORDS",
        help="Find where this is said, by the words of the subtitles and by their meaning; can be given several "
        "times.",
    ),
]


@dataclass(frozen=True)
class CueArguments:
    """What is looked for in the words of a video."""

    said: Said = None
    written: Annotated[
        list[str] | None,
        typer.Option(
            "--written",
            metavar="WORDS",
            help="Find where this is written on the screen; may be repeated. Needs pip install 'vtg\\[ocr]'.",
        ),
    ] = None

    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="With --said: transcribe the speech, unless that was done before. Needs pip install "
            "'vtg\\[speech]' and vtg weights pull whisper-small.",
        ),
    ] = False
    speech_model: SpeechWeights = None

    @property
    def is_asked(self) -> bool:
        """Whether something is asked."""
        return bool(self.said or self.written)

    def check(self, videos: Sequence[Place], *, is_watching: bool = False) -> None:
        """Refuse what cannot be asked, before any work begins.

        Args:
            videos: those that are named.
            is_watching: whether videos are taken from a watched folder.

        Raises:
            UsageError: if a text is empty, a video is in object storage or still to come, or an option plays no part.
            WeightsMissing, WeightsInvalid: if the weights that are to transcribe speech are not here.
        """
        if self._speaks and not self.said:
            raise UsageError("--speech: goes with --said")
        if not self.is_asked:
            return
        self._weights()
        option = "--said" if self.said else "--written"
        if is_watching:
            raise UsageError(f"{option}: does not go with --watch; name the videos")
        from model.grounding.grounder import check_queries

        check_queries([*(self.said or ()), *(self.written or ())])
        for video in videos:
            if isinstance(video, Address):
                raise UsageError(f"{video}: {option} needs the video's file; download it, and name the file")

    def answer(self, video: Place, search: SearchArguments, cache: FeatureCache) -> list[GroundingResult]:
        """Answer for one video; notes say what of its words could not be read.

        Raises:
            VideoError, VtgError: as `CueGrounder`.
        """
        from model.cues.grounder import CueGrounder

        grounder = CueGrounder(cache)
        asked: list[tuple[Source, list[str]]] = [
            ("subtitles", self.said or []),
            ("screen", self.written or []),
        ]
        results: list[GroundingResult] = []
        for source, queries in asked:
            if not queries:
                continue
            transcript = self._read(grounder, video, source)
            for sentence in transcript.notes:
                note(sentence)
            if not transcript.streams:
                note(f"{video}: {transcript.lack or _NOTHING[source]}, so {_OPTION[source]} finds nothing")
            results += grounder.ground(transcript, queries, top_k=search.top_k, threshold=search.threshold)
        return [result.clear() for result in results] if search.only_clear else results

    @property
    def _speaks(self) -> bool:
        return self.speech or self.speech_model is not None

    def _weights(self) -> SpeechModel | bool:
        return self.speech if self.speech_model is None else wanted_model(self.speech_model)

    def _read(self, grounder: CueGrounder, video: Place, source: Source) -> Transcript:
        from vtg_cli.terminal.progress import CountProgress

        path, name = Path(str(video)), printable(video.name)
        with (
            CountProgress(f"pictures of {name}") as on_picture,
            CountProgress(f"seconds of {name}") as on_second,
        ):
            return grounder.read(
                path, source, speech=self._weights(), on_picture=on_picture, on_second=on_second
            )


_NOTHING: Mapping[Source, str] = {
    "subtitles": "has no subtitles, neither inside nor beside it",
    "screen": "has no text on the screen",
}
_OPTION: Mapping[Source, str] = {"subtitles": "--said", "screen": "--written"}

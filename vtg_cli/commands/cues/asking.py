"""What `vtg ground` is asked about what is said and written: its options, and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError, VideoError
from extractors.places import Address, Place
from vtg_cli.commands.cues.wanted import WantedWords
from vtg_cli.terminal.console import note, printable

if TYPE_CHECKING:
    from extractors.cache.store import FeatureCache
    from extractors.cues.cue import Source, Transcript
    from model import CueGrounder, Grounder
    from model.grounding.encoded import EncodedVideo
    from model.grounding.results import GroundingResult
    from vtg_cli.parsing.arguments import SearchArguments


@dataclass(frozen=True)
class CueAnswers:
    """The answers for one video, and the transcripts that were searched for them."""

    results: list[GroundingResult]
    words: Sequence[Transcript] = ()


@dataclass(frozen=True)
class CueArguments(WantedWords):
    """What is looked for in the words of a video."""

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
            help="With --said or --cues: transcribe the speech, unless that was done before. Needs pip install "
            "'vtg\\[speech]' and vtg weights pull whisper-small.",
        ),
    ] = False
    cues: Annotated[
        bool | None,
        typer.Option(
            "--cues/--no-cues",
            help="Look for queries in the text on the screen, too, or in pictures only.",
            show_default="subtitles, and what was read or transcribed before",
        ),
    ] = None

    def check(self, videos: Sequence[Place], *, is_watching: bool = False) -> None:
        """Refuse what cannot be asked, before any work begins.

        Args:
            videos: those that are named.
            is_watching: whether videos are taken from a watched folder.

        Raises:
            UsageError: if a text is empty, a video is in object storage or still to come, or an option plays no part.
            WeightsMissing, WeightsInvalid: if the weights that are to transcribe speech are not here.
        """
        self.check_words()
        if not self.is_asked and not self.cues:
            return
        option = "--said" if self.said else "--written" if self.written else "--cues"
        if is_watching:
            raise UsageError(f"{option}: does not go with --watch; name the videos")
        for video in videos:
            if isinstance(video, Address):
                raise UsageError(f"{video}: {option} needs the video's file; download it, and name the file")

    def answer(self, video: Place, search: SearchArguments, cache: FeatureCache) -> CueAnswers:
        """Answer for one video; notes say what of its words could not be read.

        Raises:
            VideoError, VtgError: as `CueGrounder`.
        """
        from model.cues.grounder import CueGrounder
        from vtg_cli.terminal.progress import CountProgress

        grounder = CueGrounder(cache)
        results: list[GroundingResult] = []
        words: list[Transcript] = []
        for source, queries in self.asked():
            transcript = self._read(grounder, video, source)
            for sentence in transcript.notes:
                note(sentence)
            if not transcript.streams:
                note(f"{video}: {transcript.lack or _NOTHING[source]}, so {_OPTION[source]} finds nothing")
            with CountProgress(f"cues of {printable(video.name)}") as on_cues:
                results += grounder.ground(
                    transcript, queries, top_k=search.top_k, threshold=search.threshold, on_cues=on_cues
                )
            words.append(transcript)
        return CueAnswers([result.clear() for result in results] if search.only_clear else results, words)

    def cue_grounder(self, cache: FeatureCache) -> CueGrounder | None:
        """What searches the words for queries; None if only pictures are asked."""
        if self.cues is False:
            return None
        from model import CueGrounder

        return CueGrounder(cache)

    def ground(
        self,
        grounder: Grounder,
        cue_grounder: CueGrounder | None,
        video: EncodedVideo,
        queries: Sequence[str],
        search: SearchArguments,
    ) -> CueAnswers:
        """Answer queries from the pictures of a video, and from its words as far as they are asked or at hand.

        If the words cannot be read, a note says so, and the pictures answer alone.

        Raises:
            VtgError: as `SearchArguments.ground`, and as `CueGrounder.read` if all words are asked.
        """
        words = () if cue_grounder is None else self._words(cue_grounder, video.path)
        for sentence in (sentence for transcript in words for sentence in transcript.notes):
            note(sentence)
        if cue_grounder is None or not words:
            return CueAnswers(search.ground(grounder, video, queries))
        from vtg_cli.terminal.progress import CountProgress

        with CountProgress(f"cues of {printable(video.path.name)}") as on_cues:
            found = search.ground_joined(grounder, video, queries, cue_grounder, words, on_cues)
        return CueAnswers(found, words)

    def _words(self, cue_grounder: CueGrounder, video: Place) -> Sequence[Transcript]:
        if isinstance(video, Address):
            return ()
        try:
            if not self.cues:
                return cue_grounder.at_hand(video)
            sources: tuple[Source, ...] = ("subtitles", "screen")
            read = [self._read(cue_grounder, video, source) for source in sources]
        except VideoError as error:
            note(f"only pictures are searched: {error}")
            return ()
        return [transcript for transcript in read if transcript.streams]

    def _read(self, grounder: CueGrounder, video: Place, source: Source) -> Transcript:
        from vtg_cli.terminal.progress import CountProgress

        path, name = Path(str(video)), printable(video.name)
        with (
            CountProgress(f"pictures of {name}") as on_picture,
            CountProgress(f"seconds of {name}") as on_second,
        ):
            return grounder.read(
                path, source, speech=self.weights(), on_picture=on_picture, on_second=on_second
            )


_NOTHING: Mapping[Source, str] = {
    "subtitles": "has no subtitles, neither inside nor beside it",
    "screen": "has no text on the screen",
}
_OPTION: Mapping[Source, str] = {"subtitles": "--said", "screen": "--written"}

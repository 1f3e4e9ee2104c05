"""`vtg transcript`: the subtitles of a video, its speech, or the text on its screen, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError, VideoError
from vtg_cli.commands.cues.speech import SpeechWeights, wanted_model
from vtg_cli.parsing import values
from vtg_cli.parsing.options import Cache, Quiet, Verbose
from vtg_cli.parsing.values import is_same_file
from vtg_cli.terminal.console import detail, note, printable

if TYPE_CHECKING:
    from extractors.cache.store import FeatureCache
    from extractors.cues.cue import CueStream, Source, Transcript
    from extractors.cues.speech.weights import SpeechModel


@dataclass(frozen=True)
class TranscriptOutput:
    """What is written, and where."""

    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path_text("--output"),
            help="Write to a file. The ending selects the format: srt, vtt, json, txt.",
            show_default="standard output",
        ),
    ] = "-"
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of an --output whose ending does not select one: srt, vtt, json, txt.",
        ),
    ] = None
    streams: Annotated[
        list[str] | None,
        typer.Option(
            "--stream",
            metavar="NAME",
            help="Which subtitles to write, by name (talk.en.srt, 'track 2') or language (en); can be given several "
            "times.",
            show_default="the first",
        ),
    ] = None


@dataclass(frozen=True)
class TranscriptSource:
    """What is read."""

    screen: Annotated[
        bool,
        typer.Option(
            "--screen", help="Write the text on the screen instead. Needs pip install 'vtg\\[ocr]'."
        ),
    ] = False
    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="Write what is said in the sound instead. Needs pip install 'vtg\\[speech]' and vtg weights pull "
            "whisper-small.",
        ),
    ] = False
    speech_model: SpeechWeights = None

    def choose(self) -> tuple[Source, SpeechModel | None]:
        """The source, and the weights that are named for speech.

        Raises:
            UsageError: if two sources are named.
            WeightsMissing, WeightsInvalid: if the weights are not here.
        """
        is_speech = self.speech or self.speech_model is not None
        if self.screen and is_speech:
            raise UsageError("--screen and --speech: name one of them")
        model = None if self.speech_model is None else wanted_model(self.speech_model)
        return "screen" if self.screen else "speech" if is_speech else "subtitles", model


def transcript(
    video: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEO", parser=values.existing("VIDEO"), help="A video file.", show_default=False
        ),
    ],
    wanted: TranscriptOutput,
    asked: TranscriptSource,
    cache: Cache = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the subtitles of a video: those in the file, and those beside it (talk.srt, talk.en.vtt for talk.mp4).

    With --speech, the speech is transcribed and written instead. With --screen, it is the text on the screen, as far as
    it can be read.

    Files beside the video come first, then the tracks inside it. A note names those that are not written.

    [bold]Examples[/]

      vtg transcript talk.mp4

      vtg transcript talk.mkv -o talk.srt

      vtg transcript talk.mkv --stream en -o talk.json

      vtg transcript talk.mp4 --speech -o talk.srt

      vtg transcript slides.mp4 --screen -o slides.txt
    """
    from extractors.cache.store import FeatureCache
    from vtg_cli.writers.transcript import require_form, write_transcript

    del quiet, verbose  # they act through their callbacks
    form = require_form(wanted.output, wanted.form)
    source, model = asked.choose()
    store = FeatureCache(cache, on_write_error=lambda error: note(str(error)))
    found = _read(video, store, source, model)
    _check_target(wanted.output, video, found)
    for sentence in found.notes:
        note(sentence)
    if not found.streams:
        raise VideoError(video, found.lack or _NOTHING[found.source])
    chosen = found.chosen(wanted.streams or ())
    write_transcript(found, chosen, wanted.output, form)
    _report(found, chosen)


def _read(video: Path, store: FeatureCache, source: Source, model: SpeechModel | None) -> Transcript:
    from extractors.cues.screen_text import read_screen
    from extractors.cues.speech_text import read_speech
    from extractors.cues.subtitles import read_subtitles
    from vtg_cli.terminal.progress import CountProgress

    name = printable(video.name)
    if source == "screen":
        with CountProgress(f"pictures of {name}") as on_picture:
            return read_screen(video, store, on_picture=on_picture)
    if source == "speech":
        with CountProgress(f"seconds of {name}") as on_second:
            return read_speech(video, store, model, on_second=on_second)
    return read_subtitles(video, store)


_NOTHING: Mapping[Source, str] = {
    "subtitles": "has no subtitles, neither inside nor beside it",
    "screen": "has no text on the screen that can be read",
    "speech": "has no speech that can be transcribed",
}


def _check_target(output: str, video: Path, found: Transcript) -> None:
    """Raise UsageError if the file to write is one that was read."""
    for source in (video, *(video.with_name(stream.name) for stream in found.streams)):
        if is_same_file(Path(output), source):
            raise UsageError(
                f"--output {output}: is what the subtitles are read from; give the file another name"
            )


def _report(found: Transcript, chosen: tuple[CueStream, ...]) -> None:
    detail(f"written: {', '.join(stream.name for stream in chosen)}")
    others = [stream.label for stream in found.streams if stream not in chosen]
    if others:
        note(f"{found.video} also has {', '.join(others)}; --stream chooses")

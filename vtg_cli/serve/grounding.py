"""The work of a job: features, decoded in a subprocess, then moments in the pictures and in the words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from extractors.cues.cue import Transcript
from extractors.encoders.registry import clip_length_s
from extractors.errors import VideoError
from extractors.videos.events import Event, VideoOpening, VideoProgress, VideoStarted, VideoWaiting
from model import CueGrounder, Grounder
from model.grounding.choice import choose_model, feature_names
from model.grounding.encoded import EncodedVideo
from model.grounding.results import GroundingResult
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.jobs import Findings, Job, Report
from vtg_cli.terminal.verdict import verdict

_EXTRACTION = 0.9  # of a job's time, where features have to be made


def check_choice(choice: ModelArguments) -> None:
    """Refuse names that no job could use, without loading anything.

    Raises:
        UsageError: if a model or feature is unknown, a rate out of range, or a file of weights is not there.
    """
    options = choice.encoders.options()
    if choice.features != "auto":
        for name in feature_names(choice.features):
            clip_length_s(name, choice.fps)
    if choice.model != "auto":
        choose_model(choice.model, choice.features, choice.fps, options)


class GroundingWork:
    """Does jobs with one Grounder, which is loaded for the first of them. For one thread.

    Args:
        choice: what answers.
    """

    def __init__(self, choice: ModelArguments) -> None:
        self._choice = choice
        self._grounder: Grounder | None = None
        self._cue_grounder: CueGrounder | None = None
        self._report: Report | None = None

    def __call__(self, job: Job, report: Report) -> Findings:
        """Find the moments of a job.

        Raises:
            Cancelled: if `report` does.
            NotThere: if something else has taken the place of the job's file.
            VtgError: as `Grounder.load` and `Grounder.ground`.
        """
        self._report = report
        report("extracting", 0.0)
        job.video.check_file()
        if self._grounder is None:
            self._grounder = self._choice.load(
                on_event=self._on_event, on_download=lambda done, total: self._tell(0.0)
            )
        video = self._grounder.encode(job.video.path)
        report("grounding", _EXTRACTION)
        results = self._answer(self._grounder, video, job)
        remarks = [
            f"“{result.query}”: {text[:1].lower() + text[1:]}"
            for result in results
            if (text := " ".join(_sentences(result)))
        ]
        warnings = [f"This video is {text}." for text in results[0].facts.warnings()]
        return Findings(
            results=tuple(replace(result, video=job.video.name) for result in results),
            notes=(*warnings, *remarks),
            model_notes=tuple(text[:1].upper() + text[1:] for text in self._grounder.notes),
        )

    def _answer(self, grounder: Grounder, video: EncodedVideo, job: Job) -> list[GroundingResult]:
        if self._cue_grounder is None:
            self._cue_grounder = CueGrounder.for_server(grounder.cache)
        words: Sequence[Transcript] = ()
        with suppress(VideoError):  # pictures can answer alone
            words = self._cue_grounder.at_hand(job.video.path)
        if not words:
            return grounder.ground(video, job.queries, top_k=job.top_k, threshold=job.threshold)
        seen = grounder.ground(video, job.queries, top_k=job.top_k)
        return self._cue_grounder.join(seen, words, top_k=job.top_k, threshold=job.threshold)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, (VideoOpening, VideoStarted, VideoWaiting)):
            self._tell(0.0)
        elif isinstance(event, VideoProgress):
            self._tell(_EXTRACTION * event.done_s / max(event.duration_s, 1e-3))

    def _tell(self, progress: float) -> None:
        assert self._report is not None, "only a job makes things happen"
        self._report("extracting", progress)


def _sentences(result: GroundingResult) -> list[str]:
    """What a person should know about an answer."""
    hints = [f"{hint[:1].upper()}{hint[1:]}." for hint in result.hints]
    return [*filter(None, [verdict(result)]), *hints]

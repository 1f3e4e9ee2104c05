"""The requests and responses of the API, as its OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vtg_cli.serve.wanted import MOST_HITS

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
JobStage = Literal["waiting", "extracting", "grounding", "done"]

MOST_QUERIES = 20
LONGEST_QUERY = 500
"""Characters."""


class ErrorBody(BaseModel):
    """What went wrong, in a sentence a person can act on."""

    error: str


class HealthBody(BaseModel):
    """The server is up."""

    status: Literal["ok"]
    version: str


class FormatBody(BaseModel):
    """A format that results can be downloaded in."""

    name: str
    label: str
    ending: str


class FormatsBody(BaseModel):
    """Every format there is."""

    formats: list[FormatBody]


class VideoBody(BaseModel):
    """A video of the library."""

    id: str
    name: str
    duration_s: float
    fps: float
    width: int
    height: int
    size_bytes: int
    uploaded: bool
    folder: str = Field(description="Path relative to the served folder; empty for uploads.")


class VideosBody(BaseModel):
    """The library, in order of name."""

    videos: list[VideoBody]
    scanning: bool = Field(description="Whether folders are still being read, and more videos will come.")


class CueBody(BaseModel):
    """A text, and when it is said or shown, in seconds from the start."""

    start_s: float
    end_s: float
    text: str = Field(description="Plain text on one line, never markup.")


class TrackBody(BaseModel):
    """The cues of one subtitle file, of one text track or of the screen, in order of time."""

    name: str
    source: Literal["subtitles", "speech", "screen"]
    cues: list[CueBody]


class CuesBody(BaseModel):
    """What is said and written in a video: its subtitles, and the text on its screen if it was read before."""

    tracks: list[TrackBody]


class JobRequest(BaseModel):
    """What to look for, in which video."""

    model_config = ConfigDict(extra="forbid", strict=True)

    video_id: Annotated[str, Field(min_length=1, max_length=100)]
    queries: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY, pattern=r"\S")]],
        Field(min_length=1, max_length=MOST_QUERIES),
    ]
    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    threshold: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.0


class MomentBody(BaseModel):
    """A span of the video, in seconds from its start."""

    start_s: float
    end_s: float
    score: float
    clear_match: bool | None = Field(description="Null where scores only rank moments.")
    source: Literal["subtitles", "speech", "screen"] = Field(
        default="subtitles", description="What words were read from; only of moments found by them."
    )
    stream: str = Field(default="", description="The file or track with these words; likewise.")
    text: str = Field(default="", description="The words; likewise. Plain text, never markup.")
    is_seen: bool = Field(
        default=False, description="Whether the pictures match, too; only of moments found by words."
    )


class SaliencyBody(BaseModel):
    """One score per clip, each of so many seconds."""

    clip_length_s: float
    scores: list[float]


class ResultBody(BaseModel):
    """The answer to one query, as `vtg ground --json` gives it; `video` is the video's name."""

    video: str
    query: str
    model: str
    features: list[str]
    duration_s: float
    moments: list[MomentBody]
    saliency: SaliencyBody
    damaged_s: list[tuple[float, float]]
    clear_match: bool | None = Field(description="Whether the video matches the query; null if unknown.")
    match_score: float | None = Field(description="Score of the best moment, whatever the threshold.")
    blind_spot: str | None = Field(description="What the query asks for that the features cannot see.")
    hints: list[str] = Field(description="On the wording of the query.")
    sources: list[str] = Field(
        default=[], description="What words were read from beside the pictures; not there if none."
    )


class JobSummary(BaseModel):
    """A job without its results."""

    id: str
    video_id: str
    queries: list[str]
    state: JobState
    stage: JobStage
    progress: Annotated[float, Field(ge=0.0, le=1.0)]
    error: str | None
    notes: list[str] = Field(description="About these answers.")
    model_notes: list[str] = Field(description="About every answer of the model.")
    created_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class JobBody(JobSummary):
    """A job; its results are null until it is done."""

    results: list[ResultBody] | None


class JobsBody(BaseModel):
    """Every job that is kept, newest first."""

    jobs: list[JobSummary]


class SearchRequest(BaseModel):
    """What to look for in all videos, and in which of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY, pattern=r"\S")]
    top_k: Annotated[int, Field(ge=1, le=MOST_HITS)] = 50
    per_video: Annotated[int, Field(ge=1, le=100)] = 3
    threshold: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.0
    only_clear: Annotated[bool, Field(description="Leave out hits that do not clearly match.")] = False
    name: Annotated[
        str,
        Field(
            max_length=200,
            description="Words that the videos' names contain, or a pattern such as `talk*.mp4`.",
        ),
    ] = ""
    folder: Annotated[
        str,
        Field(max_length=1000, description="Only videos in this folder, as `folder` of a video names it."),
    ] = ""
    longer_than_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0


class MoreRequest(BaseModel):
    """Which search to go on with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    next: Annotated[
        str, Field(min_length=1, max_length=100, description="As an answer of a search gives it.")
    ]
    top_k: Annotated[int, Field(ge=1, le=MOST_HITS)] = 50


class HitBody(BaseModel):
    """A moment of one of the videos; those found by pictures are ranked by score times evidence."""

    video_id: str
    name: str
    folder: str
    start_s: float
    end_s: float
    score: float
    clear_match: bool | None = Field(description="Null where scores only rank moments.")
    evidence: float = Field(description="How likely the video is, from its vectors; 1 for the likeliest.")
    duration_s: float = Field(description="Length of the video.")
    source: Literal["subtitles", "speech", "screen"] = Field(
        default="subtitles", description="What words were read from; only of hits found by them."
    )
    stream: str = Field(default="", description="The file or track with these words; likewise.")
    text: str = Field(default="", description="The words; likewise. Plain text, never markup.")
    is_seen: bool = Field(default=False, description="Given where both words and pictures match.")


class SearchBody(BaseModel):
    """Hits of a search, best first; those that follow on others may rank before some of these."""

    query: str
    clear_match: bool | None = Field(description="Whether any video matches the query; null if unknown.")
    videos: int = Field(description="How many were searched: those that are offered and in the library.")
    looked_into: int = Field(description="How many of them were grounded; the others are less likely.")
    has_more: bool = Field(description="Whether there may be more hits.")
    next: str | None = Field(
        description="For `/api/search/more`, which finds the hits that follow; null if there are none. The server "
        "keeps the searches that were used last, for half an hour at most."
    )
    hits: list[HitBody]
    notes: list[str] = Field(description="About this answer.")
    model_notes: list[str] = Field(description="About every answer of the model.")


class AddingBody(BaseModel):
    """An addition to the library that is under way."""

    done: int
    total: int
    video: str = Field(description="The name of the one that is being read; empty between two.")
    progress: Annotated[float, Field(ge=0.0, le=1.0)]
    eta_s: float | None


class FailedBody(BaseModel):
    """A video that could not be added."""

    video_id: str
    name: str
    error: str


class LibraryBody(BaseModel):
    """Which of the videos can be searched together."""

    videos: int = Field(description="How many are offered.")
    searchable: int = Field(description="How many of them are in the library.")
    following: bool = Field(description="Whether videos are added to the library, those that arrive too.")
    adding: AddingBody | None
    failed: list[FailedBody]
    error: str | None = Field(description="Why nothing can be added; null if it can.")

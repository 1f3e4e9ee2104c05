"""The tools that agents call. The docstrings of the tools are what agents read about them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from extractors.errors import VtgError
from vtg_cli.mcp import jobs as background
from vtg_cli.mcp.curves import thinned
from vtg_cli.mcp.exports import export
from vtg_cli.mcp.intake import Intake
from vtg_cli.mcp.jobs import Jobs
from vtg_cli.mcp.places import Places
from vtg_cli.mcp.schemas import (
    Curve,
    Exported,
    Job,
    ListedVideo,
    Moments,
    Query,
    QuotedMoments,
    Video,
    VideoList,
    WaitS,
    to_job,
    to_moments,
    to_quoted,
)
from vtg_cli.mcp.searcher import Searcher
from vtg_cli.parsing.options import ModelArguments

_INSTRUCTIONS = """\
vtg finds the moments of videos on this machine that match a sentence. find_moments searches one video, or all videos \
of a library, in pictures and in words; list_videos lists them. find_said searches only what is said in one video, in \
subtitles and transcribed speech; find_written searches only the text on its screen. Times are seconds from the start \
of the video. If clear_match is false, nothing matches clearly, and the moments are only the likeliest places: do not \
present them as facts. Reading a video for the first time can take minutes: you get a job then."""

_POLL_S = 0.2
_LOADING_S = 20.0  # at least; only downloads take longer
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)

_T = TypeVar("_T")


class Tools:
    """The tools of a server.

    Args:
        places: what agents may use.
        choice: what answers.
        output: folder for exports; None if there are none.
    """

    def __init__(self, places: Places, choice: ModelArguments, output: Path | None) -> None:
        self._places = places
        self._searcher = Searcher(places, choice)
        self._intake = Intake(choice)
        self._output = output
        self._jobs = Jobs()
        self._loads = Jobs()  # answers wait for them, and they need not wait for videos that are read
        # One thread, because the libraries and the networks are for one; jobs have their own.
        self._thread = ThreadPoolExecutor(1, "vtg-mcp-answers")

    def server(self) -> MCPServer:
        """A server of these tools."""
        from vtg_cli.writers.formats import formats

        server = MCPServer("vtg", version=version("vtg"), instructions=_INSTRUCTIONS, log_level="ERROR")
        names = ", ".join(form.name for form in formats())
        for tool, hints, more in (
            (self.list_videos, _READS, ""),
            (self.find_moments, _READS, ""),
            (self.find_said, _READS, ""),
            (self.find_written, _READS, ""),
            (self.get_curve, _READS, ""),
            (self.export, _ADDS, f"\n\nFormats: {names}."),
            (self.add_to_library, _ADDS, ""),
            (self.job_status, _READS, ""),
        ):
            server.add_tool(tool, description=f"{inspect.getdoc(tool)}{more}", annotations=hints)
        return server

    def close(self, timeout_s: float) -> bool:
        """Stop all work; returns whether it has ended."""
        ended = all([self._jobs.close(timeout_s), self._loads.close(timeout_s)])
        self._thread.shutdown(wait=False, cancel_futures=True)
        return ended

    async def list_videos(
        self,
        library: Annotated[str | None, Field(description="Only videos of this library.")] = None,
        start: Annotated[int, Field(ge=0, description="Index of the first video of the page.")] = 0,
        limit: Annotated[int, Field(ge=1, le=500, description="Maximum videos of the page.")] = 100,
    ) -> VideoList:
        """List the videos that can be searched, page by page, and the libraries."""
        videos = await self._answer(self._places.videos, library or None)
        page = [
            ListedVideo(path=str(video.path), duration_s=video.duration_s, library=video.library)
            for video in videos[start : start + limit]
        ]
        more = start + limit < len(videos)
        return VideoList(
            videos=page,
            total=len(videos),
            next_start=start + limit if more else None,
            libraries=self._places.library_names,
        )

    async def find_moments(
        self,
        query: Query,
        context: Context[Any, Any],
        video: Annotated[str | None, Field(description="Path of a video, to search only this one.")] = None,
        library: Annotated[
            str | None,
            Field(
                description="Name of a library, to search all its videos; not needed if there is only one."
            ),
        ] = None,
        top: Annotated[int, Field(ge=1, le=100, description="Maximum moments.")] = 5,
        wait_s: WaitS = 20.0,
    ) -> Moments:
        """Find the moments that match a query, in one video or in all videos of a library, best first.

        Queries are looked for in pictures, in subtitles, and in speech and text on the screen that were read before.
        The source of a moment says where it was found; moments found by words have the text.
        """
        if video and library:
            raise ToolError("give a video or a library, not both")
        if not video:
            name = library or self._only_library()
            if (job := await self._load(name, context, wait_s)) is not None:
                return Moments(job=job)
            return to_moments(await self._answer(self._searcher.find_in_library, name, query, top))
        path = await self._answer(self._places.video, video)
        if (job := await self._read(path, context, wait_s)) is not None:
            return Moments(job=job)
        return to_moments(await self._answer(self._searcher.find_in_video, path, query, top))

    async def find_said(
        self,
        words: Annotated[
            str, Field(description="Words, a phrase or a sentence that is said, or means the same.")
        ],
        video: Video,
        top: Annotated[int, Field(ge=1, le=100, description="Maximum moments.")] = 5,
    ) -> QuotedMoments:
        """Find where something is said in a video, by the words and the meaning of its subtitles, with quotes.

        Speech that the user had transcribed before is searched, too.
        """
        return await self._quoted(video, words, top, "subtitles")

    async def find_written(
        self,
        words: Annotated[
            str, Field(description="Words, a phrase or a sentence that is written, or means the same.")
        ],
        video: Video,
        top: Annotated[int, Field(ge=1, le=100, description="Maximum moments.")] = 5,
    ) -> QuotedMoments:
        """Find where something is written on the screen of a video, such as on slides and signs, with quotes.

        Only text is searched that the user had read before; a note says so if there is none.
        """
        return await self._quoted(video, words, top, "screen")

    async def get_curve(
        self,
        query: Query,
        video: Video,
        context: Context[Any, Any],
        points: Annotated[int, Field(ge=2, le=1000, description="Maximum points of the curve.")] = 200,
        wait_s: WaitS = 20.0,
    ) -> Curve:
        """Get how well a video matches a query over time. Each point is the best of the clips around it."""
        path = await self._answer(self._places.video, video)
        if (job := await self._read(path, context, wait_s)) is not None:
            return Curve(job=job)
        answer = await self._answer(self._searcher.ground, path, query, 1)
        times_s, values = thinned(answer.saliency, answer.duration_s, points)
        return Curve(
            times_s=times_s,
            values=values,
            duration_s=round(answer.duration_s, 3),
            clip_length_s=answer.saliency.clip_length_s,
        )

    async def export(
        self,
        found: Annotated[
            list[str],
            Field(
                min_length=1,
                max_length=50,
                description="Values of found in answers of find_moments, find_said and find_written.",
            ),
        ],
        format: Annotated[str, Field(description="Name of the format.")],
        file: Annotated[
            str, Field(description="Name of a new file, without folders. The ending of the format is added.")
        ],
        all_moments: Annotated[
            bool, Field(description="Write moments that do not clearly match, too.")
        ] = False,
    ) -> Exported:
        """Write moments that were found to a file, as subtitles, a timeline, a table or another format.

        The file goes to the folder for exports, and never overwrites another one.
        """

        def write() -> Path:
            results = self._searcher.answers_of(found)
            return export(results, format, file, self._output, all_moments=all_moments)

        return Exported(path=str(await self._answer(write)))

    async def add_to_library(
        self,
        path: Annotated[str, Field(description="An offered folder, a folder in it, or a video.")],
        context: Context[Any, Any],
        library: Annotated[str | None, Field(description="Not needed if there is only one.")] = None,
        wait_s: WaitS = 20.0,
    ) -> Job:
        """Add the videos of an offered folder to a library, so that they can be searched together."""
        name = library or self._only_library()
        place = await self._answer(self._places.place_of, name)
        addition = await self._answer(self._places.addition, path)
        job = self._submit(self._jobs, f"{name}: {path}", self._intake.add(place, name, addition))
        return to_job(await self._finished(job, context, wait_s))

    async def job_status(
        self,
        id: Annotated[str, Field(description="Id of the job.")],
        context: Context[Any, Any],
        wait_s: WaitS = 0.0,
    ) -> Job:
        """Get the state of a job; with wait_s, wait for its end."""
        job = self._jobs.get(id) or self._loads.get(id)
        if job is None:
            raise ToolError(
                f"there is no job {id!r}; the last {background.MOST_KEPT} are kept until the server stops"
            )
        return to_job(await self._finished(job, context, wait_s))

    async def _quoted(
        self, video: str, words: str, top: int, source: Literal["subtitles", "screen"]
    ) -> QuotedMoments:
        path = await self._answer(self._places.video, video)
        try:
            # It needs neither the libraries nor the networks, which are for one thread.
            answer, notes = await asyncio.to_thread(self._searcher.quoted, path, words, top, source)
        except VtgError as error:
            raise ToolError(str(error)) from error
        return to_quoted(answer, await self._answer(self._searcher.keep, answer), notes)

    async def _load(self, library: str | None, context: Context[Any, Any], wait_s: float) -> Job | None:
        """Have what answers loaded; the job if that takes long, as a download does."""
        work = await self._answer(self._searcher.loading, library)
        if work is None:
            return None
        job = self._submit(self._loads, library or "single videos", work)
        return _unfinished(await self._finished(job, context, max(wait_s, _LOADING_S)))

    async def _read(self, video: Path, context: Context[Any, Any], wait_s: float) -> Job | None:
        """Have the features of a video extracted if they are not there; the job if that takes longer."""
        if (loading := await self._load(None, context, wait_s)) is not None:
            return loading
        if await self._answer(self._searcher.is_read, video):
            return None
        job = self._submit(self._jobs, str(video), self._intake.read(video))
        return _unfinished(await self._finished(job, context, wait_s))

    async def _finished(
        self, job: background.Job, context: Context[Any, Any], wait_s: float
    ) -> background.Job:
        """A job once it is finished, or after some seconds, with its progress sent to clients that ask for it."""
        end_s = time.monotonic() + wait_s
        sent = -1.0
        while not job.is_finished and (left_s := end_s - time.monotonic()) > 0:
            if job.progress > sent:  # it has to increase
                sent = job.progress
                await context.report_progress(sent, 1.0, job.message)
            await asyncio.sleep(min(_POLL_S, left_s))
            job = self._jobs.get(job.id) or self._loads.get(job.id) or job
        return job

    async def _answer(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function returns on the thread of answers."""
        try:
            return await asyncio.wrap_future(self._thread.submit(function, *arguments))
        except VtgError as error:
            raise ToolError(str(error)) from error

    def _submit(self, jobs: Jobs, subject: str, work: background.Work) -> background.Job:
        try:
            return jobs.submit(subject, work)
        except VtgError as error:
            raise ToolError(str(error)) from error

    def _only_library(self) -> str:
        names = self._places.library_names
        if len(names) == 1:
            return names[0]
        if not names:
            raise ToolError(
                "name a video; this server offers no library. The user can add one with --library NAME"
            )
        raise ToolError(f"name a video or a library; the libraries are {', '.join(names)}")


def _unfinished(job: background.Job) -> Job | None:
    """A job that an answer has to wait for; None if it is done. Raises ToolError if it failed."""
    if job.state == "failed":
        raise ToolError(job.message)
    return None if job.is_finished else to_job(job)

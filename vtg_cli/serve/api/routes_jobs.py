"""The API routes for jobs and for the formats of their results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from vtg_cli.serve.api import schemas
from vtg_cli.serve.api.files import attachment
from vtg_cli.serve.api.routes_videos import error_reply
from vtg_cli.serve.api.services import Services
from vtg_cli.serve.jobs import Job, NoSuchJob
from vtg_cli.serve.sandbox_worker import Export
from vtg_cli.writers.formats import Format, find_format, formats

HEARTBEAT_S = 15.0
"""Seconds after which an event stream says that it is still there."""

_CALM_S = 0.1  # progress comes faster than anybody can see

_EVENT: Mapping[str, Any] = {
    "description": "One event. The data of `job` is a JobSummary, that of `end` the state that the job ended in.",
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["job", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


def job_routes(services: Services) -> APIRouter:
    """The routes for jobs."""
    routes = APIRouter(tags=["jobs"])
    jobs = services.jobs
    not_found = error_reply(404, "There is no such job.")

    @routes.get("/api/formats")
    async def list_formats() -> schemas.FormatsBody:
        """The formats that results can be downloaded in."""
        return schemas.FormatsBody(
            formats=[
                schemas.FormatBody(name=form.name, label=form.label, ending=form.ending) for form in formats()
            ]
        )

    @routes.post(
        "/api/jobs",
        status_code=202,
        response_model_exclude_unset=True,
        responses={
            **error_reply(400, "The body is no JSON."),
            **error_reply(404, "There is no such video."),
            **error_reply(429, "Too many jobs wait."),
        },
    )
    async def start_job(request: schemas.JobRequest) -> schemas.JobBody:
        """Look for queries in a video."""
        video = services.library.get(request.video_id)
        job = jobs.submit(video, request.queries, top_k=request.top_k, threshold=request.threshold)
        return _body(job)

    @routes.get("/api/jobs")
    async def list_jobs() -> schemas.JobsBody:
        """Every job that is kept, newest first."""
        return schemas.JobsBody(jobs=[_summary(job) for job in jobs.jobs()])

    @routes.get("/api/jobs/{job_id}", responses=not_found, response_model_exclude_unset=True)
    async def get_job(job_id: str) -> schemas.JobBody:
        """One job, with its results once it is done."""
        return _body(jobs.get(job_id))

    @routes.post("/api/jobs/{job_id}/cancel", responses=not_found, response_model_exclude_unset=True)
    async def cancel_job(job_id: str) -> schemas.JobBody:
        """Cancel a job: at once if it waits, with the next chunk of video if it runs."""
        return _body(jobs.cancel(job_id))

    @routes.get(
        "/api/jobs/{job_id}/events",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "`job` events at once and at each change, then `end`.",
                "content": {"text/event-stream": {"schema": _EVENT}},
            },
            **not_found,
        },
    )
    async def follow_job(job_id: str) -> Response:
        """A job's changes, as server-sent events."""
        jobs.get(job_id)
        return StreamingResponse(
            _events(services, job_id), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )

    @routes.get(
        "/api/jobs/{job_id}/export/{form}",
        response_class=Response,
        responses={
            200: {
                "description": "The results, to be saved as a file.",
                "content": {kind: {} for kind in sorted({form.media_type for form in formats()})},
            },
            **error_reply(404, "There is no such job, format or video any more."),
            **error_reply(409, "The job is not done."),
        },
    )
    async def export_job(
        job_id: str,
        form: str,
        all_moments: Annotated[
            bool,
            Query(alias="all", description="Whether timelines hold moments that do not clearly match, too."),
        ] = False,
    ) -> Response:
        """A job's results in a format."""
        job = jobs.get(job_id)
        known = find_format(form)
        if known is None:
            raise HTTPException(404, f"unknown format; known are {', '.join(f.name for f in formats())}")
        if job.results is None:
            raise HTTPException(409, f"the job is {job.state}; only one that is done has results")
        data = await _export(services, job, known, all_moments=all_moments)
        name = PurePosixPath(job.video.name).stem + known.ending
        return Response(
            data,
            media_type=known.media_type,
            headers={"content-disposition": attachment(name)},
        )

    return routes


async def _export(services: Services, job: Job, form: Format, *, all_moments: bool) -> bytes:
    assert job.results is not None, "asked for before"
    if form.counts_frames:
        await asyncio.to_thread(services.library.get(job.video.id).check_file)
    # An upload's own name says nothing to an editing program, nor does a path to one on another machine.
    rename = job.video.uploaded or not services.tells_paths
    task = Export(job.results, form.name, job.video.path, job.video.name, rename, all_moments)
    return (await services.sandbox.run(task)).data


async def _events(services: Services, job_id: str) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(changed.set)

    unlisten = services.jobs.listen(job_id, wake)
    services.streams.add(changed)
    said: dict[str, Any] | None = None
    try:
        while not services.stopping:
            changed.clear()
            try:
                job = services.jobs.get(job_id)
            except NoSuchJob:  # so old that it was forgotten while somebody listened
                return
            now = _summary(job).model_dump()
            if now != said:
                yield _event("job", now)
                said = now
            if job.is_finished:
                yield _event("end", {"state": job.state})
                return
            await asyncio.sleep(_CALM_S)
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
            except asyncio.TimeoutError:
                yield ": still here\n\n"
    finally:
        unlisten()
        services.streams.discard(changed)


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _fields(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "video_id": job.video.id,
        "queries": list(job.queries),
        "state": job.state,
        "stage": job.stage,
        "progress": round(job.progress, 4),
        "error": None if job.error is None else job.error.encode("utf-8", "backslashreplace").decode(),
        "notes": list(job.notes),
        "model_notes": list(job.model_notes),
        "created_at": job.created_at,
    }


def _summary(job: Job) -> schemas.JobSummary:
    return schemas.JobSummary(**_fields(job))


def _body(job: Job) -> schemas.JobBody:
    results = None if job.results is None else [result.to_json() for result in job.results]
    return schemas.JobBody.model_validate({**_fields(job), "results": results})

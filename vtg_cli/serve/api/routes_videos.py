"""The API routes for videos."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from vtg_cli.serve.api import schemas
from vtg_cli.serve.api.files import video_response
from vtg_cli.serve.api.services import Services
from vtg_cli.serve.library import uploads
from vtg_cli.serve.library.library import Video
from vtg_cli.serve.library.thumbnails import Size

UPLOADS = "/api/videos"
"""Where uploads are sent."""

_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def video_routes(services: Services) -> APIRouter:
    """The routes for videos."""
    routes = APIRouter(tags=["videos"])
    library = services.library
    not_found = error_reply(404, "There is no such video.")

    @routes.get(
        UPLOADS,
        response_model=schemas.VideosBody,
        responses={304: {"description": "It is as it was: `If-None-Match` names it as it is."}},
    )
    async def list_videos(request: Request) -> Response:
        """The library; its `ETag` changes with it."""
        scanning = not services.scanned.is_set()
        headers = {"etag": f'"{library.revision}{"+" if scanning else ""}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        body = schemas.VideosBody(videos=[_body(video) for video in library.videos()], scanning=scanning)
        return JSONResponse(body.model_dump(), headers=headers)

    @routes.post(
        UPLOADS,
        status_code=201,
        response_model=schemas.VideoBody,
        responses={
            200: {"model": schemas.VideoBody, "description": "The video, which the server already had."},
            **error_reply(408, "Nothing came for too long."),
            **error_reply(507, "The disk is full."),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": _BYTES, "video/*": _BYTES},
            }
        },
    )
    async def upload_video(
        request: Request,
        name: Annotated[
            str, Query(max_length=1000, description="What the video is called to people.")
        ] = "video",
    ) -> Response:
        """Upload a video: the body is the file, as it is."""
        length = request.headers.get("content-length")
        try:
            video, new = await uploads.receive(
                request.stream(),
                name,
                library,
                most_bytes=services.most_upload_bytes,
                stated_bytes=None if length is None else int(length),
            )
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return JSONResponse(_body(video).model_dump(), 201 if new else 200)

    @routes.get(f"{UPLOADS}/{{video_id}}", responses=not_found)
    async def get_video(video_id: str) -> schemas.VideoBody:
        """One video."""
        return _body(library.get(video_id))

    @routes.delete(
        f"{UPLOADS}/{{video_id}}",
        status_code=204,
        responses={**not_found, **error_reply(409, "It is a file of a folder, which is only read.")},
    )
    async def delete_video(video_id: str) -> Response:
        """Delete an upload."""
        await asyncio.to_thread(library.delete, video_id)
        return Response(status_code=204)

    @routes.get(f"{UPLOADS}/{{video_id}}/cues", responses=not_found)
    async def get_cues(video_id: str) -> schemas.CuesBody:
        """What is said and written in a video, as far as it is at hand."""
        tracks = await services.cues.tracks(library.get(video_id))
        return schemas.CuesBody.model_validate({"tracks": tracks})

    async def send_file(request: Request, video_id: str, *, with_body: bool) -> Response:
        video = library.get(video_id)
        file = await asyncio.to_thread(video.open_file)
        size = os.fstat(file.fileno()).st_size
        return video_response(video, file, size, request.headers, with_body=with_body)

    @routes.get(
        f"{UPLOADS}/{{video_id}}/file",
        response_class=Response,
        responses={
            200: {
                "description": "The file.",
                "content": {"video/*": _BYTES, "application/octet-stream": _BYTES},
            },
            206: {
                "description": "A part of it.",
                "content": {"video/*": _BYTES, "application/octet-stream": _BYTES},
            },
            304: {"description": "It has not changed."},
            **not_found,
            **error_reply(416, "The range begins behind the end."),
        },
    )
    async def get_file(request: Request, video_id: str) -> Response:
        """The file's bytes; takes `Range`."""
        return await send_file(request, video_id, with_body=True)

    @routes.head(f"{UPLOADS}/{{video_id}}/file", include_in_schema=False)
    async def head_file(request: Request, video_id: str) -> Response:
        return await send_file(request, video_id, with_body=False)

    @routes.get(
        f"{UPLOADS}/{{video_id}}/thumbnail",
        response_class=Response,
        responses={
            200: {"description": "A JPEG.", "content": {"image/jpeg": _BYTES}},
            **not_found,
        },
    )
    async def get_thumbnail(
        video_id: str,
        at_s: Annotated[
            float, Query(ge=0.0, allow_inf_nan=False, description="Seconds from the start.")
        ] = 0.0,
        size: Annotated[Size, Query(description="320 pixels at most, or 960.")] = "small",
    ) -> Response:
        """The picture on screen at an instant."""
        video = library.get(video_id)
        await asyncio.to_thread(video.check_file)
        picture = await services.thumbnails.get(video, at_s, size)
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    return routes


def error_reply(code: int, description: str) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes an error."""
    return {code: {"model": schemas.ErrorBody, "description": description}}


def _body(video: Video) -> schemas.VideoBody:
    return schemas.VideoBody(
        id=video.id,
        name=video.name,
        duration_s=round(video.duration_s, 3),
        fps=round(video.fps, 3),
        width=video.width,
        height=video.height,
        size_bytes=video.size_bytes,
        uploaded=video.uploaded,
        folder=video.folder,
    )

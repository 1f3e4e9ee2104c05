"""The API routes for searches in all videos, and for the library that answers them."""

from __future__ import annotations

from fastapi import APIRouter

from vtg_cli.serve.api import schemas
from vtg_cli.serve.api.routes_videos import error_reply
from vtg_cli.serve.api.services import Services
from vtg_cli.serve.library.library import Video
from vtg_cli.serve.library_intake import IntakeState
from vtg_cli.serve.library_search import Found
from vtg_cli.serve.wanted import Wanted


def library_routes(services: Services) -> APIRouter:
    """The routes for the library."""
    routes = APIRouter(tags=["library"])
    intake = services.intake

    @routes.post(
        "/api/search",
        response_model_exclude_unset=True,
        responses={
            **error_reply(400, "The body is no JSON."),
            **error_reply(409, "The library cannot be searched, or not in this way."),
            **error_reply(429, "Too many searches wait."),
        },
    )
    async def search(request: schemas.SearchRequest) -> schemas.SearchBody:
        """Find the moments of all videos that match a query; videos that the library lacks are not searched."""
        found = await services.search.find(Wanted(**request.model_dump()))
        intake.forget(found.missing)
        return _found(found)

    @routes.post(
        "/api/search/more",
        response_model_exclude_unset=True,
        responses={
            **error_reply(400, "The body is no JSON."),
            **error_reply(409, "The library cannot be searched any more."),
            **error_reply(410, "The search is no longer kept, or there was none."),
            **error_reply(429, "Too many searches wait."),
        },
    )
    async def more(request: schemas.MoreRequest) -> schemas.SearchBody:
        """Find the hits that follow those of an answer; the same request again brings the same hits again."""
        found = await services.search.go_on(request.next, request.top_k)
        intake.forget(found.missing)
        return _found(found)

    @routes.get("/api/library")
    async def get_library() -> schemas.LibraryBody:
        """Which of the videos can be searched, and how far the addition of the others is."""
        return _library(intake.state())

    @routes.post("/api/library/add")
    async def add_videos() -> schemas.LibraryBody:
        """Add the videos that the library lacks, in the background, and from then on those that arrive."""
        intake.follow()
        return _library(intake.state())

    @routes.post("/api/library/cancel")
    async def cancel_adding() -> schemas.LibraryBody:
        """Add no more videos; what was added stays."""
        intake.cancel()
        return _library(intake.state())

    return routes


def _found(found: Found) -> schemas.SearchBody:
    result = found.result
    return schemas.SearchBody(
        query=result.query,
        clear_match=result.clear_match,
        videos=result.videos,
        looked_into=result.looked_into,
        has_more=found.next is not None,
        next=found.next,
        hits=[schemas.HitBody(**{**hit.to_json(), **_names(video)}) for video, hit in found.hits],
        notes=list(found.notes),
        model_notes=list(found.model_notes),
    )


def _names(video: Video) -> dict[str, str]:
    return {"video_id": video.id, "name": video.name, "folder": video.folder}


def _library(state: IntakeState) -> schemas.LibraryBody:
    adding = state.adding
    return schemas.LibraryBody(
        videos=state.videos,
        searchable=state.searchable,
        following=state.following,
        adding=None
        if adding is None
        else schemas.AddingBody(
            done=adding.done,
            total=adding.total,
            video=adding.video,
            progress=round(adding.progress, 4),
            eta_s=None if adding.eta_s is None else round(adding.eta_s, 1),
        ),
        failed=[
            schemas.FailedBody(video_id=video.id, name=video.name, error=reason)
            for video, reason in state.failed
        ],
        error=state.error,
    )

"""The application: the parts of the API, the page, and one-sentence answers to errors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from extractors.errors import VideoError
from vtg_cli.serve.access.entrance import Entrance
from vtg_cli.serve.access.refusal import Refusal
from vtg_cli.serve.access.security import Gate
from vtg_cli.serve.api import schemas
from vtg_cli.serve.api.routes_jobs import job_routes
from vtg_cli.serve.api.routes_library import library_routes
from vtg_cli.serve.api.routes_videos import UPLOADS, video_routes
from vtg_cli.serve.api.services import Services
from vtg_cli.serve.api.wording import sentence
from vtg_cli.serve.hit_lists import NotKept
from vtg_cli.serve.jobs import NoSuchJob, QueueFull
from vtg_cli.serve.library.library import NotThere, NotUploaded
from vtg_cli.serve.library.uploads import DiskFull, TooLarge, TooSlow
from vtg_cli.serve.library_search import CannotSearch
from vtg_cli.serve.sandbox import WorkFailed
from vtg_cli.terminal.console import one_line

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from importlib.resources.abc import Traversable
    else:
        from importlib.abc import Traversable

_THREADS = 64  # each holds one for as long as a read or a write takes
_RETRY_S = "30"

_STATIC_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

_PLAIN: Mapping[str, str] = {
    "Not Found": "there is nothing at this address; /api/openapi.json lists those there are",
    "Method Not Allowed": "this address does not take requests of this method; /api/openapi.json lists what it takes",
    "There was an error parsing the body": "the body: is not JSON",
}
"""The sentences for those of the framework."""

_STATUS: Mapping[type[Exception], int] = {
    NotThere: 404,
    NoSuchJob: 404,
    TooSlow: 408,
    NotUploaded: 409,
    CannotSearch: 409,
    NotKept: 410,
    TooLarge: 413,
    WorkFailed: 422,
    QueueFull: 429,
    DiskFull: 507,
}


def create_app(services: Services) -> FastAPI:
    """Build the ASGI application of a server.

    Args:
        services: its parts; they outlive it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "vtg-serve"))
        yield
        services.stop_reading()

    app = FastAPI(
        title="vtg serve",
        version=version("vtg"),
        description='Find where in a video something happens. Every error is `{"error": "a sentence"}`.',
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses={
            code: {"model": schemas.ErrorBody, "description": text}
            for code, text in {
                401: "The token is missing or wrong.",
                403: "The request comes from another site, or names another host.",
                408: "The body did not arrive in time.",
                413: "The body is too large.",
                422: "The request is not as described here.",
            }.items()
        },
    )
    _answer_errors(app)
    _add_page(app)
    app.include_router(video_routes(services))
    app.include_router(job_routes(services))
    app.include_router(library_routes(services))
    entrance = None if services.token is None else Entrance(services.token, services.port)
    app.add_middleware(Gate, host=services.host, entrance=entrance, upload_path=UPLOADS)

    @app.get("/api/health", tags=["server"])
    async def health() -> schemas.HealthBody:
        """Whether the server is up."""
        return schemas.HealthBody(status="ok", version=version("vtg"))

    return app


def _answer_errors(app: FastAPI) -> None:
    def refuse_with(status: int) -> Callable[[Request, Exception], Response]:
        def refuse(request: Request, error: Exception) -> Response:
            return Refusal(status, str(error), {"retry-after": _RETRY_S} if status == 429 else None)

        return refuse

    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, refuse_with(status))

    @app.exception_handler(VideoError)
    def unreadable(request: Request, error: VideoError) -> Response:
        # Without its path, which is the server's.
        return Refusal(422, f"this is not a video that can be used: {error.reason}")

    @app.exception_handler(HTTPException)
    def failed(request: Request, error: HTTPException) -> Response:
        words = _PLAIN.get(str(error.detail), str(error.detail))
        return Refusal(error.status_code, words, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        # Names of unknown fields are the sender's, and may be no text that can be sent back.
        return JSONResponse({"error": one_line(sentence(error.errors()[0]))}, 422)


def _add_page(app: FastAPI) -> None:
    """Serve the page's files, those that are there at the start, by their names alone."""
    folder = files("vtg_cli.serve") / "static"
    static = {item.name: item for item in folder.iterdir() if item.is_file()} if folder.is_dir() else {}

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def page() -> Response:
        return _static_file(static, "index.html")

    @app.api_route("/static/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    def static_file(name: str) -> Response:
        return _static_file(static, name)


def _static_file(static: Mapping[str, Traversable], name: str) -> Response:
    kind = _STATIC_TYPES.get(PurePosixPath(name).suffix)
    if name not in static or kind is None:
        raise HTTPException(404, "there is no such page")
    # Names stay the same from one version to the next, so browsers have to ask.
    return Response(static[name].read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

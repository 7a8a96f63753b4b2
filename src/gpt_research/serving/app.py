"""The application: routers, the page, headers that keep a browser safe, errors as JSON.

Knows nothing about what the routers do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt_research.serving import errors, page_files
from gpt_research.serving.models import ServedModels
from gpt_research.serving.worker import Worker
from gpt_research.version import __version__

HEADERS = {
    # Everything comes from this server: no script or style in the HTML itself, and no other host.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every answer."""


def build_app(models: ServedModels, worker: Worker, routers: Iterable[APIRouter]) -> FastAPI:
    """Return the application that serves these models by these routers, and the page."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()

    # FastAPI's own pages of documentation load scripts from elsewhere, so they are left out.
    app = FastAPI(title="gpt-research", version=__version__, docs_url=None, redoc_url=None, lifespan=life)
    app.state.models, app.state.worker = models, worker
    errors.install(app)
    for router in routers:
        app.include_router(router)
    app.include_router(page_files.router)  # last, because it takes every address
    app.add_middleware(SafeHeaders)
    return app


class SafeHeaders:
    """Middleware that adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)

"""The application: routers, the page, and what every request passes through.

Knows nothing about what the routers do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from gpt_research.serving import errors, metrics, page_files
from gpt_research.serving.batch import Batch
from gpt_research.serving.body_limit import BodyLimit
from gpt_research.serving.models import ServedModels
from gpt_research.serving.security import Guard
from gpt_research.serving.worker import Worker
from gpt_research.version import __version__

TAGS = [
    {"name": "openai", "description": "OpenAI's API."},
    {"name": "tokenizer", "description": "The tokenizer, as vLLM offers it."},
    {
        "name": "page",
        "description": "What the page asks for: runs, what is inside a model, training, data, traces. "
        "The answers may change from one version to the next.",
    },
    {"name": "operation", "description": "For supervisors and Prometheus."},
]
"""What the OpenAPI document says about the groups of addresses."""


@dataclass(frozen=True)
class Parts:
    """What the handlers of an application share."""

    models: ServedModels
    worker: Worker
    batch: Batch


def build_app(parts: Parts, routers: Iterable[APIRouter], *, key: str = "", names: Iterable[str] = ()) -> FastAPI:
    """Return the application that serves models by these routers, and the page.

    Args:
        key: what clients must send; empty asks for none.
        names: further host names by which the server may be called.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        parts.batch.start()
        yield
        parts.batch.close()
        parts.worker.close()

    # FastAPI's own pages of documentation load scripts from elsewhere, so they are left out.
    app = FastAPI(
        title="gpt-research",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        openapi_tags=TAGS,
        responses=errors.RESPONSES,
    )
    app.state.models, app.state.worker, app.state.batch = parts.models, parts.worker, parts.batch
    app.state.metrics = metrics.Metrics(parts.batch)
    errors.install(app)
    for router in (*routers, metrics.router):
        app.include_router(router)
    app.include_router(page_files.router)  # last, because it takes every address
    # The middleware that is added last comes first.
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard, key=key, names=names)
    app.add_middleware(metrics.Counted, metrics=app.state.metrics)
    return app

"""`/metrics`: figures of the running server, as Prometheus reads them; and `/health`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt_research.serving.batch import Batch

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
router = APIRouter(tags=["operation"])


class Metrics:
    """The figures of one server."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gpt_research_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "gpt_research_request_seconds",
            "Time from a request to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_piece = Histogram(
            "gpt_research_first_piece_seconds",
            "Time from a request to the first text that is sent: the first token of a stream, or all of an answer.",
            buckets=SECONDS,
            registry=self.registry,
        )
        batch.observe_first = self.first_piece.observe
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what the batch knows."""
        batch = self._batch
        yield GaugeMetricFamily("gpt_research_samples_running", "Samples that are generated now.", batch.running)
        waiting = max(0, batch.in_flight - batch.running)
        yield GaugeMetricFamily("gpt_research_samples_waiting", "Samples that wait for a place in the batch.", waiting)
        yield CounterMetricFamily("gpt_research_tokens", "Tokens that were generated.", batch.tokens)


class Counted:
    """Middleware that counts requests by the route that answers them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_at, status = time.perf_counter(), 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            # Routes, not addresses: a client must not be able to make any number of series.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started_at)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Return all figures as Prometheus's text."""
    found: Metrics = request.app.state.metrics
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/health")
async def health() -> dict[str, str]:
    """Return that the server answers. This needs no key."""
    return {"status": "ok"}

"""Work for a client, which ends when the client goes away before its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from gpt_research.serving.errors import ApiError

T = TypeVar("T")


class WhileConnected(APIRoute):
    """The class of routes whose handler is cancelled if its client closes the connection before the
    response begins.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_while_connected(request: Request) -> Response:
            await request.body()  # the request keeps it for its handler
            return await _unless_disconnected(request, handle(request))

        return handle_while_connected


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it if the client closes its connection first.

    Raises:
        ApiError: the client is gone, so that nobody reads the answer.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "The client closed the connection.")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Middleware that refuses a body which is too large, without reading more of it than allowed."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt_research.serving.errors import ApiError, answer

MOST_BYTES = 4 << 20
"""The largest body: a request with the longest prompts of a large model takes some 2 MB."""


class BodyLimit:
    """Refuses by the length that a request declares, or by what has come of one that does not.

    What the client sends on is read and dropped by the HTTP protocol, so that it gets the answer.
    """

    def __init__(self, app: ASGIApp, most: int = MOST_BYTES) -> None:
        self.app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._most:
            await answer(self._too_large())(scope, receive, send)
            return
        seen = 0

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise self._too_large()
            return message

        await self.app(scope, receive_limited, send)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The body has more than {self._most:,} bytes, which is the most that is read.")

"""Connections with deadlines: uvicorn's protocol, and what it lacks against slow clients.

uvicorn waits for a request for ever, and takes headers of any length. Here the head and the body of
a request must have come within `READ_S`, and the head within `HEAD_BYTES`. What a client does not
take of an answer is dropped with its connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gpt_research.serving.errors import ApiError, body

READ_S = 10.0
"""Seconds from the beginning of a connection, or of a request on it, to the end of its body."""
TAKE_S = 20.0
"""Seconds in which a client must take some of an answer, once the system holds no more for it."""
HEAD_BYTES = 32 << 10
"""The longest request line and headers."""
MOST_CONNECTIONS = 1000
"""Connections at a time; more are closed at once. Each takes a file of the process."""


class DeadlineProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, read_s: float = READ_S, take_s: float = TAKE_S, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_s, self._take_s = read_s, take_s
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        """Runs while the client takes nothing of an answer."""
        self._in_head = False
        self._head_bytes = 0
        """Bytes of the head that is being read, or up to twice as many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > MOST_CONNECTIONS:
            self.transport.abort()
            return
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._deadline is None:
            self._set_deadline()
        super().data_received(data)
        if self._in_head:
            # A header whose end has not come yet is held by the parser.
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self._refuse(_head_too_long())

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(name + value)
        super().on_header(name, value)

    def _count_head(self, part: bytes) -> None:
        """Count what the parser has read of a head; an error ends the parsing."""
        self._head_bytes += len(part)
        if self._head_bytes > HEAD_BYTES:
            raise _head_too_long()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._clear_deadline()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(_head_too_long() if self._head_bytes > HEAD_BYTES else ApiError(400, "This is no HTTP request."))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self._take_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._read_s, self._too_slow)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(ApiError(408, f"The request did not come within {self._read_s:.0f} seconds."))

    def _refuse(self, error: ApiError) -> None:
        """Answer without the application, and close the connection."""
        started = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not started:
            content = orjson.dumps(body(error))
            length = str(len(content)).encode()
            head = [STATUS_LINE[error.status], b"content-type: application/json\r\ncontent-length: ", length]
            self.transport.write(b"".join([*head, b"\r\nconnection: close\r\n\r\n", content]))
        self.transport.close()


def _head_too_long() -> ApiError:
    """Return a new error each time: one that is raised holds its traceback, and so the request."""
    return ApiError(431, f"The headers have more than {HEAD_BYTES:,} bytes.")

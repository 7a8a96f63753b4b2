"""The server: a socket that is bound before models are loaded, and an end in order.

On Ctrl-C or SIGTERM the server takes no more requests. What is being written may go on for
`GRACE_S`; then streams end with an error event and other requests with status 503. A second Ctrl-C
ends at once.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from functools import partial

import uvicorn
from fastapi import FastAPI
from sse_starlette.sse import AppStatus

from gpt_research.base.errors import UserError
from gpt_research.serving.connections import READ_S, TAKE_S, DeadlineProtocol

GRACE_S = 5.0
BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 takes a free one.

    Raises:
        UserError: the port is in use or not allowed, or the address is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"host is {host!r}, which is no address: {error}.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(_reason(error, host, port)) from None
    return listener


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Give another one, or --port 0 for one that is free."
    if error.errno == errno.EACCES:
        return f"Port {port} is for the administrator alone. Give one from 1024 on."
    return f"The server cannot listen on {host}, port {port}: {error.strerror}. Give an address of this machine."


class Server(uvicorn.Server):
    """uvicorn, which tells the batch when it is being stopped."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI), "`serve` gives it one"
        ending = asyncio.ensure_future(app.state.batch.stop(GRACE_S))
        await super().shutdown(sockets)
        ending.cancel()


def make_server(app: FastAPI, read_s: float = READ_S, take_s: float = TAKE_S) -> Server:
    """Return a server for an application; `run` it with a socket of `listen`.

    Args:
        read_s: seconds in which a request must have come.
        take_s: seconds in which a client must take some of an answer.
    """
    # Streams end when their job does, so sse-starlette must not cut them when a signal comes.
    AppStatus.disable_automatic_graceful_drain()
    config = uvicorn.Config(
        app,
        http=partial(DeadlineProtocol, read_s=read_s, take_s=take_s),  # type: ignore[arg-type]
        ws="none",
        log_level="error",  # clients must not be able to fill the log
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(GRACE_S) + 3,
    )
    return Server(config)

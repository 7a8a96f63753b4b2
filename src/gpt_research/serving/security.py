"""Who may ask: the key, the names by which the server is called, and other web pages.

Four dangers are met here, before a request reaches anything else:

- Others on the network: with a key, every address but /health asks for it.
- DNS rebinding: a page that the user visits makes its own name point to this machine, so that its
  requests come from the user's browser. The server answers only to names that it knows, and to
  numeric addresses, which no DNS server can change.
- Requests that another page sends across sites: they name their origin, which must be this server.
- What a browser would do with an answer: headers allow scripts, styles and connections of this
  server alone, and no page may frame ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt_research.serving.errors import ApiError, answer

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
LOCAL_NAMES = ("localhost",)
PUBLIC = ("/health",)
"""Addresses that need no key, so that a supervisor can ask."""


class Guard:
    """Middleware that refuses requests, and adds `HEADERS` to every answer.

    Args:
        key: what clients must send; empty asks for none.
        names: further names by which the server may be called.
    """

    def __init__(self, app: ASGIApp, key: str = "", names: Iterable[str] = ()) -> None:
        self.app = app
        self._key = _digest(key.encode()) if key else b""
        self._names = {name.lower() for name in (*LOCAL_NAMES, socket.gethostname(), *names) if name}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        app = self.app if refusal is None else answer(refusal)
        await app(scope, receive, send_with_headers)

    def _refusal(self, path: str, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        name = _name_in(host)
        if not _is_numeric(name) and name not in self._names:
            return ApiError(403, f'This server is not called "{name}". If it is, start it with --allow_host {name}.')
        # A browser sends the origin with every request that could do something, and `null` for a
        # page that has none.
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return ApiError(403, f"Requests from pages of {origin} are refused.")
        if path not in PUBLIC and self._key and not hmac.compare_digest(_digest(_sent_key(headers)), self._key):
            message = "A key is needed: send it as `Authorization: Bearer KEY`, or in a browser as the password."
            # A browser asks its user for the password, and sends it with all that the page asks.
            asks = {"WWW-Authenticate": 'Basic realm="gpt-research", charset="UTF-8"'}
            return ApiError(401, message, code="invalid_api_key", headers=asks)
        return None


def _digest(key: bytes) -> bytes:
    """Return a hash of a key. Hashes are of one length, so comparing them tells no length."""
    return hashlib.sha256(key).digest()


def _sent_key(headers: Headers) -> bytes:
    """Return the key of a request: a bearer's, or the password of a browser."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode("latin-1")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except ValueError:  # no base64, or not even ASCII
            return b""
    return b""


def _name_in(host: str) -> str:
    """Return the name of a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

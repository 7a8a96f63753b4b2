"""The files of the page. They are read once, so no path of a request is ever opened."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gpt_research.serving.errors import ApiError

router = APIRouter(include_in_schema=False)

OF_REPORTS = {"charts.js": "page.js", "report.css": "page.css"}
"""Files of the page that are those of reports, because both draw the same charts in the same
colours: name -> name in `report/`."""


@router.api_route("/{name:path}", methods=["GET", "HEAD"])
async def page_file(request: Request, name: str) -> Response:
    """Return a file of the page; `/` is index.html."""
    found = page_files().get(name or "index.html")
    if found is None:
        raise ApiError(404, f"There is nothing at {request.url.path}.")
    content, headers = found
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


@cache
def page_files() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Return the files by their address, each with its headers."""
    found = dict(_below(files("gpt_research.serving") / "page", ""))
    for name, source in OF_REPORTS.items():
        found[name] = _with_headers(name, (files("gpt_research.report") / source).read_bytes())
    return found


def _below(folder: Traversable, prefix: str) -> list[tuple[str, tuple[bytes, dict[str, str]]]]:
    found = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            found += _below(entry, f"{name}/")
        else:
            found.append((name, _with_headers(name, entry.read_bytes())))
    return found


def _with_headers(name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    text = kind.startswith("text/") or kind in ("application/json", "image/svg+xml")
    return content, {
        "content-type": f"{kind}; charset=utf-8" if text else kind,
        # A browser asks each time whether the file has changed, so that a new version shows at
        # once.
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    }

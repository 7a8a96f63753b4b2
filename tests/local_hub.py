"""A hub on this machine: what huggingface_hub and datasets ask of the real one, answered from
folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
FILE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)")


class LocalHub(ThreadingHTTPServer):
    """Serves folders by name: {"models/owner/name": folder}."""

    def __init__(self, repos: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos = repos
        self.sent: list[str] = []
        """Files that were fetched."""

    def gpt_research(self, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command line against this hub alone, with its cache under `home`."""
        offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN")
        environment = {name: value for name, value in os.environ.items() if name not in offline}
        environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}", "HF_HOME": str(home), "NO_PROXY": "*"}
        command = [sys.executable, "-m", "gpt_research", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@contextmanager
def local_hub(repos: dict[str, Path]) -> Iterator[LocalHub]:
    """Serve until the block ends."""
    with LocalHub(repos) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: LocalHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        if match := API.fullmatch(path):
            kind, name, question, _, below = match.groups()
            if folder := self.server.repos.get(f"{kind}/{name}"):
                facts = _facts(folder, name, question, below or "", body, "recursive=true" in query)
                return self._send(json.dumps(facts).encode())
        elif match := FILE.fullmatch(path):
            kind, name, file = match.groups()
            folder = self.server.repos.get(f"{'datasets' if kind else 'models'}/{name}")
            if folder and (folder / file).is_file():
                if self.command == "GET":
                    self.server.sent.append(file)
                return self._send((folder / file).read_bytes())
            return self._send(b"{}", 404, known=folder is not None)
        return self._send(b"{}", 404)

    def _send(self, content: bytes, status: int = 200, *, known: bool = False) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _facts(folder: Path, name: str, question: str | None, below: str, body: bytes, recursive: bool) -> Any:
    if question == "tree":
        found = sorted((folder / below).rglob("*") if recursive else (folder / below).iterdir())
        return [_entry(folder, path) for path in found]
    if question == "paths-info":
        asked = [unquote(path) for path in parse_qs(body.decode()).get("paths", [])] or json.loads(body)["paths"]
        return [_entry(folder, folder / path) for path in asked if (folder / path).exists()]
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return {"id": name, "sha": COMMIT, "private": False, "tags": [], "siblings": [{"rfilename": f} for f in files]}


def _entry(folder: Path, path: Path) -> dict[str, object]:
    kind, size = ("directory", 0) if path.is_dir() else ("file", path.stat().st_size)
    return {"type": kind, "path": path.relative_to(folder).as_posix(), "size": size, "oid": "0" * 40}

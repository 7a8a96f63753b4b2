"""Who may ask: keys, host names, origins; and what the command refuses to start with."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving.test_app import never
from starlette.testclient import TestClient

from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main
from gpt_research.cli.serve import ServeCommand, routers
from gpt_research.serving.app import Parts, build_app
from gpt_research.serving.batch import Batch
from gpt_research.serving.models import ServedModel, ServedModels
from gpt_research.serving.server import listen
from gpt_research.serving.worker import Worker

KEY = "a-long-secret-ß"


def client_of(key: str = "", *names: str) -> Iterator[TestClient]:
    worker = Worker()
    models = ServedModels([ServedModel("tiny", Path("nowhere"), 3)], worker, never)
    with TestClient(
        build_app(Parts(models, worker, Batch()), routers(), key=key, names=names), "http://localhost"
    ) as client:
        yield client


@pytest.fixture
def locked() -> Iterator[TestClient]:
    yield from client_of(KEY)


@pytest.fixture
def open_to_all() -> Iterator[TestClient]:
    yield from client_of("", "models.example")


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


def test_every_address_but_health_asks_for_the_key(locked: TestClient) -> None:
    paths = [*locked.app.openapi()["paths"], "/", "/openapi.json", "/nothing"]
    assert len(paths) > 8
    for path in paths:
        for method in ("GET", "POST", "OPTIONS"):
            answer = locked.request(method, path)
            if path == "/health":
                assert answer.status_code != 401
            else:
                assert answer.status_code == 401, path
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"].startswith("Basic")  # a browser asks its user


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer  {KEY} ", 200),
        (basic(KEY), 200),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Bearer {KEY}x", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        (KEY, 401),
        (basic("wrong"), 401),
        ("Basic !!", 401),
        ("Basic ", 401),
        ("Basic é", 401),
    ],
)
def test_a_key_is_sent_as_a_bearers_or_as_a_browsers_password(locked: TestClient, sent: str, status: int) -> None:
    assert locked.get("/v1/models", headers={"authorization": sent.encode()}).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("192.168.7.7", 200),
        (socket.gethostname(), 200),
        ("models.example:443", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
def test_only_known_names_are_answered(open_to_all: TestClient, host: str, status: int) -> None:
    """A name that another page's owner chooses may point to this machine (DNS rebinding)."""
    answer = open_to_all.get("/v1/models", headers={"host": host})
    assert answer.status_code == status
    if status == 403 and host:
        assert f"--allow_host {host}" in answer.json()["error"]["message"]


def test_pages_of_other_sites_get_nothing(open_to_all: TestClient) -> None:
    own = {"origin": "http://localhost"}
    assert open_to_all.get("/v1/models", headers=own).status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:9999", "https://localhost.evil.example"):
        assert open_to_all.get("/v1/models", headers={"origin": origin}).status_code == 403
    # No header allows another site to read an answer, or to ask with its own headers.
    asked = open_to_all.options("/v1/completions", headers={**own, "access-control-request-method": "POST"})
    assert not [name for name in asked.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "others on the network could use the server. Give a key: --api_key_file FILE"),
        (["--host", "models.example"], "others on the network could use the server"),
        (["--host", "::"], "others on the network could use the server"),
        (["--api_key", "short"], "api_key has 5 characters, but a key has at least 8."),
        (["--api_key_file", "nowhere.txt"], "api_key_file is 'nowhere.txt', which cannot be read"),
        (["--api_key", "x" * 9, "--api_key_file", "f"], "left out beside api_key"),
        (["--port", "70000"], "port is 70000, but it must be 0 to 65535."),
        (["--host", "no such host", "--api_key", KEY], "host is 'no such host', which is no address"),
        (["--host", "203.0.113.7", "--api_key", KEY], "Give an address of this machine."),
    ],
)
def test_an_unsafe_or_impossible_start_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["serve", "nowhere", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_key_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n", encoding="utf-8")
    assert ServeCommand(host="0.0.0.0", api_key_file=str(tmp_path / "key")).key == KEY
    (tmp_path / "key").write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="has 0 characters"):
        _ = ServeCommand(api_key_file=str(tmp_path / "key")).key


def test_a_port_in_use_is_named_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        assert main(["serve", "nowhere", "--port", str(port)]) == 2
    assert f"Port {port} of 127.0.0.1 is in use. Give another one, or --port 0" in capsys.readouterr().err

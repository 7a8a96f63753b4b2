"""Clients that send too much, too little, too slowly, or leave: refused at once, closed at the
deadline, and out of the batch within a second.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.conftest import READ_S, Running, running, wait_until

from gpt_research.cli.serve import ServeCommand
from gpt_research.serving.body_limit import MOST_BYTES
from gpt_research.serving.connections import HEAD_BYTES, DeadlineProtocol

QUICK_S = 0.1
LONG = {"prompt": "a", "max_tokens": 16_384, "temperature": 0}
"""A request that no test waits for: some ten seconds of text."""


def body(**fields: Any) -> bytes:
    return json.dumps({"prompt": "a"} | fields).encode()


HOSTILE: dict[str, tuple[bytes, dict[str, str], int]] = {
    "10 MB of words": (body(prompt="word " * 2_000_000), {}, 413),
    "5M characters without a space": (body(prompt="x" * 5_000_000), {}, 413),
    "4M characters without a space": (body(prompt="x" * 4_000_000), {}, 400),
    "3 MB of spaces": (body(prompt=" " * 3_000_000), {}, 400),
    "500,000 token ids": (body(prompt=[5] * 500_000), {}, 400),
    "100,000 prompts": (body(prompt=["a"] * 100_000), {}, 400),
    "max_tokens 1e9": (body(max_tokens=1e9), {}, 400),
    "max_tokens -1": (body(max_tokens=-1), {}, 400),
    "temperature NaN": (body(temperature=float("nan")), {}, 400),
    "temperature 1e400": (b'{"prompt": "a", "temperature": 1e400}', {}, 400),
    "top_p -1": (body(top_p=-1), {}, 400),
    "a bad token id": (body(prompt=[10**30]), {}, 400),
    "a deep list": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400),
    "no JSON": (b"\xff\xfe{", {}, 400),
    "an empty body": (b"", {}, 400),
    "a form": (b"prompt=a", {"content-type": "application/x-www-form-urlencoded"}, 400),
    "text as a page could send it": (body(), {"content-type": "text/plain"}, 400),
    "huge headers": (body(), {"x-filler": "y" * (HEAD_BYTES + 1)}, 431),
    "many headers": (body(), {f"x-{number}": "y" * 100 for number in range(1000)}, 431),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_malformed_or_oversized_is_refused_at_once(client: httpx.Client, name: str) -> None:
    content, headers, status = HOSTILE[name]
    client.get("/health")  # the connection is there
    seconds = []
    for _ in range(5):  # other work on this machine may delay one of them
        started_at = time.perf_counter()
        answer = client.post(
            "/v1/completions", content=content, headers={"content-type": "application/json", **headers}
        )
        seconds.append(time.perf_counter() - started_at)
        assert answer.status_code == status, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert len(answer.content) < 1000  # no part of the request comes back
    assert min(seconds) < QUICK_S


def test_a_body_without_a_length_is_cut_at_the_limit(client: httpx.Client) -> None:
    pieces = (b"x" * 65_536 for _ in range(2 * MOST_BYTES // 65_536))
    assert client.post("/v1/completions", content=pieces).status_code == 413


def test_memory_stays_flat(client: httpx.Client, server: Running) -> None:
    def attack() -> None:
        for content, headers, _ in HOSTILE.values():
            client.post("/v1/completions", content=content, headers={"content-type": "application/json", **headers})

    for _ in range(2):
        attack()
    before = resident()
    for _ in range(5):
        attack()
    assert resident() < 1.1 * before
    # No connection that has ended is kept, such as by the traceback of an error that was raised.
    assert wait_until(lambda: gc.collect() + 1 and connections() <= len(server.server.server_state.connections), 5)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connections() -> int:
    return sum(isinstance(found, DeadlineProtocol) for found in gc.get_objects())


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def test_500_slow_clients_are_closed_at_the_deadline_and_others_are_served(
    client: httpx.Client, server: Running
) -> None:
    started_at = time.monotonic()
    slow = [connect(server) for _ in range(500)]
    for number, connection in enumerate(slow):
        connection.sendall((b"", b"POST /v1/comp", HEAD, HEAD + b'content-length: 100\r\n\r\n{"pro')[number % 4])
    assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 5}).status_code == 200
    answers = [received(connection) for connection in slow]
    assert time.monotonic() - started_at < READ_S + 4
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    assert b"did not come within 1 seconds" in answers[0]
    for connection in slow:
        connection.close()


def test_a_client_that_drips_bytes_is_closed_too(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD)
        started_at = time.monotonic()
        with contextlib.suppress(OSError):  # a reset, once it is closed
            while time.monotonic() < started_at + 10:
                connection.sendall(b"x-a: b\r\n")
                time.sleep(0.05)
        assert time.monotonic() < started_at + READ_S + 1


def test_an_idle_connection_after_an_answer_is_closed(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while b'{"status":"ok"}' not in answer:
            answer += connection.recv(65_536)
        connection.sendall(b"\r\n")  # neither idle nor a request
        assert received(connection).startswith(b"HTTP/1.1 408 ")


def test_no_http_is_answered_in_json(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"] == "This is no HTTP request."


def leave_stream(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/completions", json={**LONG, "n": 3, "stream": True}) as answer:
        next(answer.iter_lines())


def leave_before_the_answer(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json={**LONG, "n": 3}, timeout=0.3)


def leave_the_queue(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json={**LONG, "n": 14}, timeout=0.3)


@pytest.mark.parametrize("leave", [leave_stream, leave_before_the_answer, leave_the_queue])
def test_a_client_that_leaves_frees_its_rows_within_a_second(
    client: httpx.Client, server: Running, leave: Callable[[httpx.Client], None]
) -> None:
    leave(client)
    assert wait_until(lambda: server.batch.in_flight == server.batch.running == 0, seconds=1)


def test_a_question_whose_client_left_is_not_worked_on(server: Running, client: httpx.Client) -> None:
    worker, free = server.app.state.worker, threading.Event()
    running = worker._executor.submit(free.wait, 20)
    try:
        for what, question in (("/api/analysis", {"text": "the king"}), ("/tokenize", {"prompt": "the king"})):
            with pytest.raises(httpx.ReadTimeout):
                client.post(what, json=question, timeout=0.3)
        with pytest.raises(httpx.ReadTimeout):
            client.get("/api/positions", timeout=0.3)
        assert wait_until(lambda: worker.waiting == 0, 5)
    finally:
        free.set()
        running.result()


def test_a_client_that_takes_nothing_of_its_stream_is_cut_off(server: Running, client: httpx.Client) -> None:
    content = body(**LONG, logprobs=100, n=8, stream=True)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(content) + content)
        assert wait_until(lambda: server.batch.running == 8, seconds=2)
        assert wait_until(lambda: server.batch.running == 0, seconds=10)


def test_a_full_queue_is_refused_with_a_time_to_come_back(client: httpx.Client, server: Running) -> None:
    with client.stream("POST", "/v1/completions", json={**LONG, "n": 16, "stream": True}) as answer:
        lines = answer.iter_lines()  # the stream is closed once this is forgotten
        next(lines)
        assert (server.batch.running, server.batch.in_flight) == (8, 16)
        refused = httpx.post(f"{server.address}/v1/completions", json={"prompt": "a"}, trust_env=False)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["type"] == "rate_limit_error"
    assert wait_until(lambda: server.batch.in_flight == 0)
    assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200
    assert client.post("/v1/completions", json={"prompt": "a", "n": 17}).status_code == 400  # it never fits


def test_every_text_ends_and_the_error_is_told_if_the_model_has_no_finite_output(
    run_folder: Path,
) -> None:
    with (
        running(ServeCommand(runs=[str(run_folder)], precision="fp32")) as server,
        httpx.Client(base_url=server.address, trust_env=False, timeout=30) as client,
    ):
        assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200
        (engine,) = server.app.state.models.engines.by_name.values()
        engine._decoder.model.norm.weight.data.fill_(float("nan"))
        answer = client.post("/v1/completions", json={"prompt": "a"})
        assert answer.status_code == 400
        assert "not finite" in answer.json()["error"]["message"]
        events = client.post("/v1/completions", json={"prompt": "a", "stream": True}).text
        assert "not finite" in events
        assert "[DONE]" not in events
        assert wait_until(lambda: server.batch.in_flight == server.batch.running == 0)

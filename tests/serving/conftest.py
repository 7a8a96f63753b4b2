"""A small run, and a server of it that listens on a free port of this machine."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import torch
from fastapi import FastAPI
from small_training import small_training
from starlette.testclient import TestClient

from gpt_research.cli.serve import ServeCommand, build
from gpt_research.cli.train import run as train
from gpt_research.model_config import GPTConfig
from gpt_research.serving.batch import Batch
from gpt_research.serving.server import Server, listen, make_server

READ_S, TAKE_S = 1.0, 0.5
"""The deadlines of these servers."""


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def run_folder(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints after 20 and 40 steps."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    shape = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=64)
    size = {"max_steps": 40, "tokens_per_step": 1024, "micro_batch": 16, "warmup_steps": 2, "save_interval": 20}
    train(small_training(dataset_folder, out=str(folder), model=shape, eval_tokens=512, **size))
    return folder


@dataclass(frozen=True)
class Running:
    """A server that runs in a thread."""

    port: int
    app: FastAPI
    server: Server

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def batch(self) -> Batch:
        batch: Batch = self.app.state.batch
        return batch


@contextlib.contextmanager
def running(command: ServeCommand) -> Iterator[Running]:
    """Yield the server of a command; stop it afterwards."""
    app = build(replace(command, device="cpu"), command.key)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(app, READ_S, TAKE_S)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Running(listener.getsockname()[1], app, server)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="package")
def server(run_folder: Path) -> Iterator[Running]:
    """A server of the run, in fp32, with a small batch and a short queue."""
    with running(ServeCommand(runs=[str(run_folder)], precision="fp32", max_batch=8, max_queue=8)) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    """A client of the server, which must end with no sample left over."""
    with httpx.Client(base_url=server.address, trust_env=False, timeout=30) as client:
        yield client
    assert wait_until(lambda: server.batch.in_flight == server.batch.running == 0)


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(run_folder, tmp_path / "tiny"))


@pytest.fixture
def page(folder: Path) -> Iterator[TestClient]:
    """A client of a server of that run, in process."""
    app = build(ServeCommand(runs=[str(folder)], device="cpu"), "")
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def wait_until(reached: Callable[[], bool], seconds: float = 1.0) -> bool:
    """Return whether a condition holds within so many seconds."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

"""A small trained run with all its checkpoints, served once, and a browser that visits its page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from serving.conftest import Running, running, wait_until

from gpt_research.cli.command_line import main
from gpt_research.cli.serve import ServeCommand

STEPS = list(range(6, 61, 6))
"""Checkpoints of the run."""
SHAPE = [
    "--model.n_layer", "2", "--model.n_head", "2", "--model.n_embd", "32", "--model.block_size", "64",
    "--tokens_per_step", "1024", "--micro_batch", "16", "--learning_rate", "1e-2", "--warmup_steps", "2",
    "--save_interval", "6", "--keep_every", "6", "--log_interval", "1", "--eval_tokens", "512",
    "--eval_interval", "30", "--precision", "fp32", "--device", "cpu",
]  # fmt: skip
WIDE, PHONE = 1280, 360


@dataclass(frozen=True)
class Site:
    """A server, and the folders behind it."""

    server: Running
    data: Path
    run: Path
    mortal: Path
    """A copy of the run whose checkpoints a test may delete."""
    live: subprocess.Popen[bytes]
    """A training that stands still until a test lets it go on."""


@pytest.fixture(scope="session")
def site(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Five runs: one, a copy whose checkpoints may go, one whose data set is gone, one whose data
    set has no index, and one that is still training.
    """
    folder = tmp_path_factory.mktemp("page")
    data, bare, run = folder / "data", folder / "bare", folder / "tiny"
    shutil.copytree(dataset_folder, data)
    shutil.copytree(dataset_folder, bare)
    assert main(["index", str(data)]) == 0
    assert main(["train", "--data", str(data), "--out", str(run), "--max_steps", "60", *SHAPE]) == 0
    for name, other in (("mortal", data), ("lost", folder / "gone"), ("unindexed", bare)):
        copied(run, folder / name, data, other)
    with training(folder / "live", data) as live:
        names = [f"{name}={folder / name}" for name in ("mortal", "lost", "unindexed", "live")]
        command = ServeCommand(runs=[str(run), *names], precision="fp32")
        with running(command) as server:
            yield Site(server, data, run, folder / "mortal", live)


def copied(run: Path, target: Path, data: Path, other: Path) -> None:
    """Copy a run as if it had been trained on a data set at another place."""
    shutil.copytree(run, target)
    for name in ("config.yaml", "settings.jsonl"):
        path = target / name
        path.write_text(path.read_text("utf-8").replace(str(data), str(other)), "utf-8")


@contextmanager
def training(folder: Path, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a training of its own process, which stands still after its first checkpoints."""
    command = ["train", "--data", str(data), "--out", str(folder), "--max_steps", "100000", *SHAPE]
    process = subprocess.Popen(
        [sys.executable, "-m", "gpt_research", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until((folder / "checkpoints" / "step_00000012").is_dir, 120)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


Visit = Callable[..., Any]


@pytest.fixture(scope="session")
def profile(chromium: Any) -> Iterator[Callable[[int, str], Any]]:
    """Returns a browser profile of a width and a colour scheme, which keeps the page's files."""
    made: dict[tuple[int, str], Any] = {}

    def profile_of(width: int, scheme: str) -> Any:
        if (width, scheme) not in made:
            size = {"width": width, "height": 900}
            context = chromium.new_context(viewport=size, color_scheme=scheme, locale="en-US")
            context.set_default_timeout(30_000)  # of a busy machine
            made[width, scheme] = context
        return made[width, scheme]

    yield profile_of
    for context in made.values():
        context.close()


@pytest.fixture
def visit(profile: Callable[[int, str], Any], site: Site) -> Iterator[Visit]:
    """Opens an address of the page in a tab of its own. At the end it holds that nothing was asked
    of another host, and that no page had an error.
    """
    pages, wrong = [], []

    def open_page(address: str = "", *, width: int = WIDE, scheme: str = "light", errors: tuple[str, ...] = ()) -> Any:
        page = profile(width, scheme).new_page()
        pages.append(page)

        def note(text: str) -> None:
            # A browser reports each refused request as an error too.
            if not any(expected in text for expected in errors):
                wrong.append(text)

        page.on("request", lambda request: request.url.startswith(site.server.address) or wrong.append(request.url))
        page.on("console", lambda message: note(message.text))
        page.on("pageerror", lambda error: note(str(error)))
        page.goto(f"{site.server.address}/{address}")
        page.locator("main .view, main .problem").first.wait_for()
        return page

    yield open_page
    for page in pages:
        page.context.set_offline(False)
        page.evaluate("localStorage.clear()")
        page.close()
    assert wrong == []


@pytest.fixture
def going_on(site: Site) -> Iterator[None]:
    """The training goes on during the test."""
    os.kill(site.live.pid, signal.SIGCONT)
    yield
    os.kill(site.live.pid, signal.SIGSTOP)

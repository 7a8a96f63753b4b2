"""`gpt-research serve RUN...`: serve models over HTTP until Ctrl-C."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require
from gpt_research.cli.terminal import say

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

    from gpt_research.serving.models import ServedModel
    from gpt_research.tracing.trace import Tracer

PACKAGES = {
    "fastapi": "fastapi",
    "httptools": "httptools",
    "prometheus_client": "prometheus-client",
    "sse_starlette": "sse-starlette",
    "uvicorn": "uvicorn",
}
"""The packages of the extra `serve`, by the names of their modules."""
SHORTEST_KEY = 8


@dataclass(frozen=True)
class ServeCommand:
    """Serve models over HTTP."""

    runs: list[str] = field(default_factory=list)
    """RUN or RUN@STEP, under the name of the folder, or NAME=RUN under another name. Empty: the
    newest under runs/."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but those of this machine itself needs a key."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key: str = ""
    """Key that clients must send. Others on this machine can read it in the list of processes."""
    api_key_file: str = ""
    """File that holds the key, instead."""
    allow_host: list[str] = field(default_factory=list)
    """A name by which clients may call this server, such as that of a proxy before it; give it
    again for more. localhost, this machine's name and numeric addresses are allowed."""
    max_batch: int = 32
    """Samples that a model generates at a time."""
    max_queue: int = 256
    """Samples that may wait for that; further requests get status 429."""
    ema: bool | None = None
    """Take the averaged weights (ema_decay), or with false those of the step. Default: the averaged
    ones if a checkpoint has them."""
    weights: Literal["same", "int8"] = "same"
    """int8 keeps the matrices in 8 bits, which is faster and a little less exact."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic and weights of generated text; scores of prompts are always in fp32. auto: bf16 if
    the device is fast at it, else fp32."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "port", self.port, "0 to 65535")
        require(1 <= self.max_batch <= 1024, "max_batch", self.max_batch, "1 to 1024")
        require(0 <= self.max_queue <= 100_000, "max_queue", self.max_queue, "0 to 100000")
        require(not (self.api_key and self.api_key_file), "api_key_file", self.api_key_file, "left out beside api_key")

    @property
    def key(self) -> str:
        """The key that clients must send, or an empty text.

        Raises:
            UserError: its file cannot be read, or the key is too short.
        """
        key, name = self.api_key, "api_key"
        if self.api_key_file:
            name = f"The key in {self.api_key_file}"
            try:
                key = Path(self.api_key_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"api_key_file is {self.api_key_file!r}, which cannot be read: {error}.") from None
        asked = bool(self.api_key or self.api_key_file)
        if asked and len(key) < SHORTEST_KEY:
            raise UserError(f"{name} has {len(key)} characters, but a key has at least {SHORTEST_KEY}.")
        if not key and not _is_of_this_machine(self.host):
            raise UserError(
                f"host is {self.host!r}, so others on the network could use the server. Give a key: --api_key_file "
                "FILE, or --api_key KEY."
            )
        return key


def run(command: ServeCommand) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        UserError: a package is missing, or a run, a name, the key or the address is wrong.
    """
    for module, package in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"serve needs {package}. Run: {hints.install('serve', package)}")
    from gpt_research.serving.server import listen, make_server

    key = command.key
    with listen(command.host, command.port) as listener:
        app = build(command, key)
        port = listener.getsockname()[1]
        for model in app.state.models.named.values():
            say(f"{model.name}: {model.folder}, step {model.step:,}")
        say(f"Page and API: http://{_in_address(command.host)}:{port}    (Ctrl-C stops the server.)")
        make_server(app).run([listener])
    return 0


def build(command: ServeCommand, key: str = "") -> FastAPI:
    """Return the application of a command.

    Raises:
        UserError: a run is missing or has no checkpoint, or two have one name.
    """
    from gpt_research.base import startup
    from gpt_research.serving.app import Parts, build_app
    from gpt_research.serving.batch import Batch
    from gpt_research.serving.engines import open_engine
    from gpt_research.serving.models import ServedModels
    from gpt_research.serving.worker import Worker

    machine = startup.start(command.device, command.precision)
    served = [_served(reference, command.ema) for reference in command.runs or [""]]
    worker = Worker()
    engine_of = partial(open_engine, machine=machine, weights=command.weights, most_running=command.max_batch)
    models = ServedModels(served, worker, engine_of, machine.device)
    batch = Batch(command.max_batch, command.max_queue, choose_threads=machine.device.type == "cpu")
    parts = Parts(models, worker, batch)
    return build_app(parts, routers(), key=key, names=[command.host, *command.allow_host])


def routers() -> list[APIRouter]:
    """Return the routers of the server. They stand here, so that `serving.app` knows none."""
    from gpt_research.serving.openai_api import chat, completions, models_list, tokenize
    from gpt_research.serving.page_api import data, inside, runs, through, validation
    from gpt_research.serving.page_api.trace import trace_router

    def open_tracer(run: Path) -> Tracer:
        from gpt_research.tracing.trace import Tracer

        return Tracer.open(run)

    programs = [models_list.router, completions.router, chat.router, tokenize.router]
    pages = [runs.router, inside.router, through.router, data.router, validation.router]
    return [*programs, *pages, trace_router(open_tracer)]


def _served(reference: str, ema: bool | None) -> ServedModel:
    """Return the model that RUN or NAME=RUN names."""
    from gpt_research.checkpoint.files import find_step
    from gpt_research.run import named_or_newest
    from gpt_research.run_reference import NEWEST
    from gpt_research.serving.models import ServedModel, written_at
    from gpt_research.settings_history import run_config

    # A folder's name may hold an equals sign.
    name, equals, place = reference.partition("=")
    if not equals or Path(reference).is_dir():
        name, place = "", reference
    chosen = named_or_newest(place)
    folder = chosen.folder
    run_config(folder)  # it says what a folder lacks that is no run
    step = find_step(folder, chosen.step)
    own = folder.resolve().name + (f"@{chosen.step}" if chosen.is_named else "")
    is_named = chosen.is_named and chosen.step != NEWEST
    return ServedModel(name or own, folder, step, written_at(folder, step), ema, is_named)


def _is_of_this_machine(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_address(host: str) -> str:
    """Return a host as a web address writes it."""
    return f"[{host}]" if ":" in host else host

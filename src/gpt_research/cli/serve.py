"""`gpt-research serve RUN...`: serve models over HTTP until Ctrl-C."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require
from gpt_research.cli.terminal import say

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI


@dataclass(frozen=True)
class ServeCommand:
    """Serve models over HTTP."""

    runs: list[str] = field(default_factory=list)
    """Run folders, or RUN@STEP for one of their checkpoints, each under the name of its folder, or
    as NAME=RUN under another. Empty: the newest under runs/."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic and weights of generated text. auto: bf16 if the device is fast at it, else
    fp32."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "port", self.port, "0 to 65535")


def run(command: ServeCommand) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        UserError: a package is missing, or a run, a name or the address is wrong.
    """
    for module, package in (("fastapi", "fastapi"), ("uvicorn", "uvicorn"), ("sse_starlette", "sse-starlette")):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"serve needs {package}. Run: {hints.install('serve', package)}")
    import uvicorn

    app = build(command)
    say(f"http://{command.host}:{command.port}")
    uvicorn.run(app, host=command.host, port=command.port, log_level="warning")
    return 0


def build(command: ServeCommand) -> FastAPI:
    """Return the application of a command.

    Raises:
        UserError: a run is missing or has no checkpoint, or two have one name.
    """
    from gpt_research.base import startup
    from gpt_research.serving.app import build_app
    from gpt_research.serving.models import ServedModels
    from gpt_research.serving.worker import Worker

    machine = startup.start(command.device, "fp32")
    worker = Worker()
    models = ServedModels([_served(name) for name in command.runs or [""]], worker, machine.device)
    return build_app(models, worker, routers())


def routers() -> list[APIRouter]:
    """Return the routers of the server. They stand here, so that `serving.app` knows none."""
    from gpt_research.serving.openai_api import models_list

    return [models_list.router]


def _served(reference: str):  # type: ignore[no-untyped-def]
    from gpt_research.checkpoint.files import find_step
    from gpt_research.run import named_or_newest
    from gpt_research.serving.models import ServedModel, written_at
    from gpt_research.settings_history import run_config

    name, equals, place = reference.partition("=")
    chosen = named_or_newest(place if equals else reference)
    folder = chosen.folder
    run_config(folder)  # it says what a folder lacks that is no run
    step = find_step(folder, chosen.step)
    own = folder.resolve().name + (f"@{chosen.step}" if chosen.is_named else "")
    return ServedModel(name if equals else own, folder, step, written_at(folder, step))

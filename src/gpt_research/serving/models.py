"""The models of a server by name. Each is opened when it is first needed.

A name stands for one checkpoint: the step is fixed when the server starts, so that a run which
still trains does not change under its readers. `NAME@STEP` is another checkpoint of the same run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import torch
from fastapi import Depends
from fastapi.requests import HTTPConnection

from gpt_research.base import hints
from gpt_research.base.errors import UserError, closest
from gpt_research.checkpoint.files import checkpoint_path, find_step, saved_steps
from gpt_research.generation.engine import GenerationEngine
from gpt_research.run import Run
from gpt_research.serving.errors import ApiError
from gpt_research.serving.worker import Worker

MOST_OPEN = 4
"""Checkpoints that stay open besides the models that the server was started with."""


@dataclass(frozen=True)
class ServedModel:
    """A checkpoint that clients may ask."""

    name: str
    """What a request calls it: the name of a served run, or NAME@STEP."""
    folder: Path
    """The run folder."""
    step: int
    created: int = 0
    """When the checkpoint was written, in seconds since 1970."""
    ema: bool | None = None
    """As in `Run.open`."""
    is_named: bool = False
    """True if the user named this checkpoint, False if it was the newest."""


T = TypeVar("T")


class Opened(Generic[T]):
    """What was opened of the served models, such as runs: once for each, by the worker.

    Args:
        open: opens a model.
        kept: names of the models that stay open.
    """

    def __init__(self, worker: Worker, open: Callable[[ServedModel], T], kept: Container[str]) -> None:
        self._worker, self._open, self._kept = worker, open, kept
        self.by_name: OrderedDict[str, T] = OrderedDict()
        """What is open, the one that was used last at the end."""
        self._written: dict[str, int] = {}
        """When the checkpoint of each was written, in nanoseconds."""

    async def get(self, model: ServedModel) -> T:
        """Return what was opened of a model; open it if this is the first time.

        Raises:
            ApiError: 404, the checkpoint was deleted since the server started.
            UserError: it is damaged, or there is no room for it.
        """
        if not self._is_open(model):
            return await self._worker.run(self._opened, model)
        self.by_name.move_to_end(model.name)
        return self.by_name[model.name]

    def _is_open(self, model: ServedModel) -> bool:
        """Return whether a model is open as its checkpoint stands: a run that was resumed before it
        may have saved it again. One that was deleted stays open.
        """
        if model.name not in self.by_name:
            return False
        return _written_ns(model.folder, model.step) in (0, self._written.get(model.name))

    def _opened(self, model: ServedModel) -> T:
        """Open a model, in the worker's thread. Another request may have done so meanwhile."""
        if not self._is_open(model):
            written = _written_ns(model.folder, model.step)
            try:
                opened = self._worker.on_all_cores(self._open, model)
            except UserError:
                if checkpoint_path(model.folder, model.step).is_dir():
                    raise
                message = f"The checkpoint of {model.name} (step {model.step}) was deleted since the server started."
                raise ApiError(404, message, param="model", code="checkpoint_gone") from None
            self._written[model.name], self.by_name[model.name] = written, opened
            self.by_name.move_to_end(model.name)
            others = [name for name in self.by_name if name not in self._kept]
            for name in others[:-MOST_OPEN]:
                del self.by_name[name], self._written[name]
        return self.by_name[model.name]


class ServedModels:
    """The served models, and what is open of them.

    Args:
        open_engine: opens a model to generate from.
        device: where runs are opened.

    Raises:
        UserError: two have one name.
    """

    def __init__(
        self,
        models: Iterable[ServedModel],
        worker: Worker,
        open_engine: Callable[[ServedModel], GenerationEngine],
        device: torch.device | str = "cpu",
    ) -> None:
        self.named: dict[str, ServedModel] = {}
        """The models that the server was started with, in order."""
        for model in models:
            if model.name in self.named:
                renamed = f"other={model.folder}@{model.step}"
                raise UserError(
                    f'Two runs are called "{model.name}": {self.named[model.name].folder} and {model.folder}. '
                    f"Give one another name: {hints.command('serve', model.folder, renamed)}"
                )
            self.named[model.name] = model
        # RUN@STEP is a name too, of which the part before the @ names the run.
        self._runs = {name.rpartition("@")[0] or name: model for name, model in self.named.items()} | self.named
        self._device = device
        self.runs = Opened(worker, self._open_run, self.named)
        """Plain models in fp32, to look into and to score with."""
        self.engines = Opened(worker, open_engine, self.named)
        """Models to generate from. Only the generating thread may use one, but for its
        tokenizer."""

    def find(self, name: str = "") -> ServedModel:
        """Return the model of a name, or the first one if the name is empty; nothing is opened.

        Raises:
            ApiError: 404, there is no such model or checkpoint.
        """
        if not name:
            return next(iter(self.named.values()))
        if name in self.named:
            return self.named[name]
        base, _, step = name.rpartition("@")
        model = self._runs.get(base)
        if model is None:
            raise _not_found(f'There is no model "{name}". Models: {", ".join(self.named)}.{closest(name, self.named)}')
        try:
            number = find_step(model.folder, step)
        except (UserError, ValueError):
            steps = ", ".join(map(str, saved_steps(model.folder))) or "none"
            raise _not_found(f'{base} has no checkpoint "{step}". Checkpoints: {steps}.') from None
        return replace(model, name=f"{base}@{number}", step=number, created=written_at(model.folder, number))

    def find_run(self, name: str = "") -> ServedModel:
        """Return a served model of the run of a name, or the first one if the name is empty; its
        checkpoint may be gone.

        Raises:
            ApiError: 404, no run is served under this name.
        """
        model = self._runs.get(name) if name else next(iter(self.named.values()))
        if model is None:
            runs = sorted({known.rpartition("@")[0] or known for known in self.named})
            message = f'There is no run "{name}". Runs: {", ".join(runs)}.{closest(name, runs)}'
            raise ApiError(404, message, param="run", code="unknown_run", details={"known": runs})
        return model

    async def run(self, name: str = "") -> Run:
        """Return the opened run of a model, in fp32. It is shared, so nobody may change it.

        Raises:
            ApiError: 404, there is no such model or checkpoint.
            UserError: as `Run.open` does.
        """
        return await self.runs.get(self.find(name))

    def _open_run(self, model: ServedModel) -> Run:
        others = [run for run in self.runs.by_name.values() if run.folder == model.folder]
        if others:
            return others[0].at(model.step, model.ema)  # the tokenizer is read once
        return Run.open(model.folder, self._device, str(model.step), model.ema)


def _not_found(message: str) -> ApiError:
    return ApiError(404, message, param="model", code="model_not_found")


def written_at(run: Path, step: int) -> int:
    """Return when a checkpoint was written, in seconds since 1970; 0 if it is gone."""
    return _written_ns(run, step) // 10**9


def _written_ns(run: Path, step: int) -> int:
    try:
        return (checkpoint_path(run, step) / "state.json").stat().st_mtime_ns
    except OSError:
        return 0


async def _of_app(connection: HTTPConnection) -> ServedModels:
    models: ServedModels = connection.app.state.models
    return models


Models = Annotated[ServedModels, Depends(_of_app)]
"""The type of a handler's argument that gets the served models."""

"""The models of a server by name. Each is opened when it is first needed.

A name stands for one checkpoint: the step is fixed when the server starts, so that a run which
still trains does not change under its readers. `NAME@STEP` is another checkpoint of the same run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from fastapi import Depends
from fastapi.requests import HTTPConnection

from gpt_research.base.errors import UserError, closest
from gpt_research.checkpoint.files import checkpoint_path, find_step, saved_steps
from gpt_research.run import Run
from gpt_research.serving.errors import ApiError
from gpt_research.serving.worker import Worker

MOST_OPEN = 4
"""Runs that stay open besides those that were named at the start."""


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


class ServedModels:
    """The served models, and the runs that are open.

    Raises:
        UserError: two have one name.
    """

    def __init__(self, models: Iterable[ServedModel], worker: Worker, device: torch.device | str = "cpu") -> None:
        self.named: dict[str, ServedModel] = {}
        """The models that the server was started with, in order."""
        self._worker, self._device = worker, device
        self._open: OrderedDict[str, Run] = OrderedDict()
        for model in models:
            if model.name in self.named:
                raise UserError(
                    f'Two runs are called "{model.name}": {self.named[model.name].folder} and {model.folder}. '
                    f"Give one another name: serve {model.folder} other={model.folder}"
                )
            self.named[model.name] = model

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
        model = self.named.get(base)
        if model is None:
            raise ApiError(
                404,
                f'There is no model "{name}". Models: {", ".join(self.named)}.{closest(name, self.named)}',
                param="model",
                code="model_not_found",
            )
        try:
            number = find_step(model.folder, step)
        except (UserError, ValueError):
            steps = ", ".join(map(str, saved_steps(model.folder))) or "none"
            raise ApiError(
                404,
                f'{base} has no checkpoint "{step}". Checkpoints: {steps}.',
                param="model",
                code="model_not_found",
            ) from None
        return replace(model, name=f"{base}@{number}", step=number, created=written_at(model.folder, number))

    async def run(self, name: str = "") -> Run:
        """Return the opened run of a model, in fp32. It is shared, so nobody may change it.

        Raises:
            ApiError: 404, there is no such model or checkpoint.
            UserError: as `Run.open` does, such as for a checkpoint that was deleted meanwhile.
        """
        model = self.find(name)
        if model.name not in self._open:
            return await self._worker.run(self._opened, model)
        self._open.move_to_end(model.name)
        return self._open[model.name]

    def _opened(self, model: ServedModel) -> Run:
        """Open a run, in the worker's thread; several requests may have asked for it."""
        if model.name not in self._open:
            self._open[model.name] = Run.open(model.folder, self._device, str(model.step), model.ema)
            others = [name for name in self._open if name not in self.named]
            for name in others[:-MOST_OPEN]:
                del self._open[name]
        return self._open[model.name]


def written_at(run: Path, step: int) -> int:
    """Return when a checkpoint was written, in seconds since 1970; 0 if it is gone."""
    try:
        return int((checkpoint_path(run, step) / "state.json").stat().st_mtime)
    except OSError:
        return 0


def _of_app(connection: HTTPConnection) -> ServedModels:
    models: ServedModels = connection.app.state.models
    return models


Models = Annotated[ServedModels, Depends(_of_app)]
"""The type of a handler's argument that gets the served models."""

"""The hardest and easiest documents of the validation split, and the loss at each position.

A pass over the split takes seconds to minutes, so it runs in the background: in small batches,
which the worker takes in turn with the questions of the page.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpt_research.base.errors import UserError
from gpt_research.data.shards import Dataset
from gpt_research.inspection.validation import ValidationLosses, ValidationPass, keep_losses, read_losses
from gpt_research.run import Run
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models, ServedModel, ServedModels
from gpt_research.serving.page_api.asking import about, answer, find_model, number, numbers, open_run
from gpt_research.serving.page_api.run_data import OpenDocuments, open_documents
from gpt_research.serving.worker import Work, Worker

router = APIRouter(prefix="/api", tags=["page"], route_class=WhileConnected)
GROUPS = 64
"""Places of the curve over positions."""
KEPT = 32
"""Finished passes that stay in memory."""
BUSY_S = 0.5
FORGOTTEN_S = 10.0
"""Seconds after which a pass that nobody asks for gives way to others. The page asks each second
while it shows a pass."""
Key = tuple[str, bool, str]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Job:
    """A pass over the validation split for one checkpoint."""

    model: ServedModel
    opened: OpenDocuments
    state: str = "running"
    """running, ready or failed."""
    progress: float = 0.0
    why: str = ""
    losses: ValidationLosses | None = None
    asked_at: float = 0.0
    """When somebody asked for it last, by `time.monotonic`."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def is_wanted(self) -> bool:
        return time.monotonic() - self.asked_at < FORGOTTEN_S


class Forgotten(Exception):  # noqa: N818  it is what has happened
    """Nobody asks for a pass any more, and another one waits."""


class Jobs:
    """The passes of a server, one at a time. Only the one whose turn it is holds its model."""

    def __init__(self, worker: Worker, models: ServedModels) -> None:
        self._worker, self._models = worker, models
        self._turn = asyncio.Lock()
        self._jobs: OrderedDict[Key, Job] = OrderedDict()

    def get(self, model: ServedModel, run: Run, opened: OpenDocuments) -> Job:
        """Return the pass for a run's weights and data; begin it if this is the first time, or if
        it is known that it failed.
        """
        key = run.weights_sha256, run.averaged, opened.data.fingerprint
        if key not in self._jobs:
            self._jobs[key] = job = Job(model, opened)
            job.task = asyncio.create_task(self._run(key, job))
            finished = [other for other, known in self._jobs.items() if known.state != "running"]
            for other in finished[:-KEPT]:
                del self._jobs[other]
        self._jobs.move_to_end(key)
        job = self._jobs[key]
        job.asked_at = time.monotonic()
        if job.state == "failed":
            del self._jobs[key]
        return job

    async def _run(self, key: Key, job: Job) -> None:
        try:
            async with self._turn:
                if not job.is_wanted:
                    raise Forgotten
                await self._read_split(job)
        except Forgotten:
            del self._jobs[key]
        except (UserError, ApiError) as error:
            job.state, job.why = "failed", str(error)
        except Exception as error:
            job.state, job.why = "failed", f"The pass over the validation split failed ({error!r})."
            raise

    async def _read_split(self, job: Job) -> None:
        run, fingerprint = await _patiently(self._models.runs.get, job.model), job.opened.data.fingerprint
        job.losses = await _patiently(self._worker.run, read_losses, run, fingerprint)
        if job.losses is None:
            going = await _patiently(self._worker.run, _begin, run, job.opened)
            while await _patiently(self._worker.run, going.advance):
                job.progress = going.done / max(1, going.windows)
                if not job.is_wanted and self._others_wait(job):
                    raise Forgotten
            job.losses = going.result()
            await _patiently(self._worker.run, keep_losses, run, fingerprint, job.losses)
        job.state, job.progress = "ready", 1.0

    def _others_wait(self, job: Job) -> bool:
        return any(other.state == "running" and other.is_wanted for other in self._jobs.values() if other is not job)


async def _patiently(ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a call returns, once not too many others wait."""
    while True:
        try:
            return await ask(*args, **kwargs)
        except ApiError as error:
            if error.status != 429:
                raise
            await asyncio.sleep(BUSY_S)


def _begin(run: Run, opened: OpenDocuments) -> ValidationPass:
    dataset = Dataset(opened.data.folder, run.model.config.block_size)
    return ValidationPass(run, opened.documents, dataset.val)


async def _job(request: Request, models: ServedModels, work: Worker, name: str) -> tuple[Job, Run, OpenDocuments]:
    run = await open_run(models, name)
    opened = await work.run(open_documents, run.folder)
    if opened.tokenizer.fingerprint != run.tokenizer.fingerprint:
        message = "The data set was written with another tokenizer than the run's, so it has no loss on it."
        raise ApiError(404, message, param="model", code="data_differs")
    if not any(opened.documents.count(corpus, "val") for corpus in opened.documents.corpora):
        raise ApiError(404, "The data set has no validation split.", param="model", code="data_missing")
    if not hasattr(request.app.state, "validation"):
        request.app.state.validation = Jobs(work, models)
    jobs: Jobs = request.app.state.validation
    return jobs.get(find_model(models, name), run, opened), run, opened


@router.get("/data/validation")
async def documents_by_loss(
    request: Request,
    models: Models,
    work: Work,
    model: str = "",
    order: Literal["hardest", "easiest"] = "hardest",
    corpus: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return the documents of the validation split by their loss."""
    served = find_model(models, model)
    job, run, opened = await _job(request, models, work, model)
    shown: dict[str, Any] = {"total": 0, "documents": []}
    if job.losses is not None:
        if corpus and corpus not in job.losses.corpora:
            message = f'There is no corpus "{corpus}", only {", ".join(job.losses.corpora)}.'
            raise ApiError(404, message, param="corpus", code="unknown_document")
        shown = await work.run(_by_loss, job.losses, opened, order, corpus, offset, limit)
    return answer({**about(served, run), "state": job.state, "progress": number(job.progress), "why": job.why, **shown})


def _by_loss(
    losses: ValidationLosses, opened: OpenDocuments, order: str, corpus: str, offset: int, limit: int
) -> dict[str, Any]:
    places, means = [], []
    for name, sums in losses.corpora.items():
        if corpus in ("", name):
            scored = np.flatnonzero(sums.scored)
            places += [(name, int(number)) for number in scored]
            means.append(sums.nats[scored] / sums.scored[scored])
    joined = np.concatenate(means) if means else np.empty(0)
    sorted_places = np.argsort(-joined if order == "hardest" else joined, kind="stable")
    found = []
    for index in sorted_places[offset : offset + limit]:
        name, place = places[index]
        sums = losses.corpora[name]
        size = float(sums.bytes[place])
        found.append(
            {
                **opened.described(opened.documents.get(name, "val", [place])[0]),
                "loss": number(joined[index]),
                "bits_per_byte": number(sums.nats[place] / math.log(2) / size if size else math.nan),
                "scored": int(sums.scored[place]),
            }
        )
    return {"total": len(places), "documents": found}


@router.get("/positions")
async def loss_by_position(request: Request, models: Models, work: Work, model: str = "") -> Response:
    """Return the mean loss at each position of the context over the validation split."""
    served = find_model(models, model)
    job, run, _ = await _job(request, models, work, model)
    shown: dict[str, Any] = {"position": [], "loss": [], "tokens": []}
    if job.losses is not None:
        nats, tokens = job.losses.position_nats, job.losses.position_tokens
        groups = [
            group for group in np.array_split(np.arange(len(nats)), min(GROUPS, len(nats))) if tokens[group].any()
        ]
        shown = {
            # The first position of a window predicts its second token, so that is position 1.
            "position": [int(group[0]) + 1 for group in groups],
            "loss": numbers([nats[group].sum() / tokens[group].sum() for group in groups]),
            "tokens": [int(tokens[group].sum()) for group in groups],
        }
    state = {"state": job.state, "progress": number(job.progress), "why": job.why}
    return answer({**about(served, run), **state, **shown, "context": run.model.config.block_size})

"""The running batch: requests join it and leave it, and one thread generates for all of them.

    event loop: submit(requests) -> Job ----- calls -----> thread: admit, step, step, ...
                async for pieces in job <--- handovers ---

The thread owns the engines: nothing else calls `add`, `step` or `cancel`. It takes calls between
two steps, so a request that is cancelled is gone before the next token.

Pieces are handed to the event loop a few hundred times a second at most, because each handover, and
each chunk that a client gets, costs as much time as a small model needs for a token. The first
piece of a request and the end of a sample are handed over at once. This module knows nothing about
what clients send.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Annotated, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from fastapi import Depends
from fastapi.requests import HTTPConnection

from gpt_research.generation.engine import GenerationEngine, Piece, Request
from gpt_research.serving.errors import ApiError
from gpt_research.serving.thread_count import fastest_threads

HANDOVER_S = 0.008
"""Seconds between two handovers; a screen shows no more than one picture in twice that time."""
TOKENS_TO_JOIN = 1024
"""Tokens of prompts that may join the batch in one step, and at least one prompt. While prompts are
read, every running text waits."""
STOPPING = "The server is being stopped."
log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Fresh = list[tuple[int, Piece]]
"""New pieces, each with the index of its sample in the request."""


class Job:
    """The samples that one client asked for. It must be closed, as a context manager."""

    def __init__(self, batch: Batch, engine: GenerationEngine, requests: Sequence[Request], *, streamed: bool) -> None:
        self.engine, self.requests, self.streamed = engine, requests, streamed
        self.submitted_at = time.perf_counter()
        self.unfinished = len(requests)
        """Samples without their last piece."""
        self.error: Exception | None = None
        self.received = False
        """True once it has a piece."""
        self.begun = False
        """True once its first piece was handed over. Only the thread uses it."""
        self._batch = batch
        self._fresh: Fresh = []
        self._news = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Fresh]:
        """Yield new pieces until every sample has ended.

        Raises:
            UserError: the model's output is not finite.
            ApiError: 503, the server stops.
        """
        while self.unfinished or self._fresh:
            await self._news.wait()
            self._news.clear()
            fresh, self._fresh = self._fresh, []
            if fresh:
                yield fresh
            if self.error is not None:
                raise self.error

    def receive(self, fresh: Fresh) -> int:
        """Take pieces, in the event loop; return how many samples they end."""
        ended = sum(piece.sample is not None for _, piece in fresh)
        self.unfinished -= ended
        self.received = True
        self._fresh += fresh
        self._news.set()
        return ended

    def fail(self, error: Exception) -> None:
        """End with an error, in the event loop."""
        self.error = error
        self._news.set()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._batch.leave(self)


class Batch:
    """A thread that generates, and the queue before it.

    Args:
        most_running: samples that an engine generates at a time.
        most_waiting: samples that may wait for that.
        choose_threads: find out for each engine whether one thread is as fast as all.
    """

    def __init__(self, most_running: int = 32, most_waiting: int = 256, *, choose_threads: bool = False) -> None:
        self.choose_threads = choose_threads
        self.most_running, self.most_waiting = most_running, most_waiting
        self.in_flight = 0
        """Samples that run or wait."""
        self.running = 0
        """Samples that an engine holds. Only the thread writes it."""
        self.tokens = 0
        """Tokens that were drawn so far."""
        self.observe_first: Callable[[float], None] = lambda seconds: None
        """Is called with the time from a request to its first piece."""
        self._jobs: set[Job] = set()
        self._called = 0
        """Calls that wait or run."""
        self._stopping = False
        self._seconds_a_sample = 1.0
        self._ended_at = 0.0
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generator = _Generator(self)
        self._thread = threading.Thread(target=self._generator.run, name="generation", daemon=True)

    def start(self) -> None:
        """Start the thread; its results go to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, engine: GenerationEngine, requests: Sequence[Request], *, streamed: bool) -> Job:
        """Queue the samples of a client. Their prompts must be token ids that the engine takes.

        Args:
            streamed: the client sees pieces as they come; otherwise they are handed over when a
                sample ends.

        Raises:
            ApiError: 400, so many samples never fit; 429, too many wait; 503, the server stops.
        """
        if self._stopping:
            raise ApiError(503, STOPPING)
        most = self.most_running + self.most_waiting
        if len(requests) > most:
            raise ApiError(400, f"The request asks for {len(requests)} samples, but the server takes {most} at a time.")
        if self.in_flight + len(requests) > most:
            message = f"The server writes or has queued {self.in_flight} samples, of at most {most}. Try again later."
            raise ApiError(429, message, code="queue_full", headers={"Retry-After": str(self._retry_after())})
        job = Job(self, engine, requests, streamed=streamed)
        self._jobs.add(job)
        self.in_flight += len(requests)
        self._calls.put(lambda: self._generator.enter(job))
        return job

    def _retry_after(self) -> int:
        """Return the seconds after which half of the queue will be done, as far as one can say."""
        return max(1, min(60, math.ceil(self._seconds_a_sample * self.in_flight / 2)))

    def leave(self, job: Job) -> None:
        """Forget a job. What is unfinished is cancelled before the next token."""
        if job in self._jobs:
            self._jobs.remove(job)
            self.in_flight -= job.unfinished
            if job.unfinished:
                self._calls.put(lambda: self._generator.cancel(job))

    def deliver(self, fresh: dict[Job, Fresh]) -> None:
        """Give pieces to their jobs; called by the thread through `in_loop`."""
        for job, pieces in fresh.items():
            if job not in self._jobs:
                continue
            now = time.perf_counter()
            if not job.received:
                self.observe_first(now - job.submitted_at)
            if ended := job.receive(pieces):
                self.in_flight -= ended
                seconds = min(60.0, now - max(self._ended_at, job.submitted_at)) / ended
                self._seconds_a_sample += 0.1 * (seconds - self._seconds_a_sample)
                self._ended_at = now

    def fail(self, jobs: Sequence[Job], error: Exception) -> None:
        """End jobs with an error; called by the thread through `in_loop`."""
        for job in jobs:
            job.fail(error)

    def in_loop(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the event loop, from the thread."""
        assert self._loop is not None, "start comes first"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns, which the thread calls between two steps: work with all
        cores that takes no longer than to read a prompt.

        Raises:
            ApiError: 429, too many calls wait.
        """
        if self._called >= self.most_running + self.most_waiting:
            raise ApiError(429, f"{self._called} requests wait already.", headers={"Retry-After": "1"})
        result: Future[T] = Future()
        self._called += 1
        try:
            self._calls.put(lambda: self._generator.later(result, partial(function, *args, **kwargs)))
            return await asyncio.wrap_future(result)
        finally:
            self._called -= 1

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, let the running ones go on for so many seconds, and end the rest."""
        self._stopping = True
        deadline = time.perf_counter() + grace_s
        while self._jobs and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)
        self.fail(list(self._jobs), ApiError(503, STOPPING))

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        if self._thread.is_alive():
            self._calls.put(self._generator.end)
            self._thread.join()

    @property
    def calls(self) -> SimpleQueue[Callable[[], None]]:
        """What the thread is asked to do."""
        return self._calls


class _Generator:
    """What the thread does. Nothing of it is called from outside of the thread."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._cores = torch.get_num_threads()
        self._threads: WeakKeyDictionary[GenerationEngine, int] = WeakKeyDictionary()
        """How many threads of torch an engine computes with."""
        self._waiting: deque[tuple[Job, int]] = deque()
        """Jobs and indices of samples that no engine has yet."""
        self._running: dict[GenerationEngine, dict[int, tuple[Job, int]]] = {}
        """The samples that engines generate, by the engine's ids."""
        self._fresh: dict[Job, Fresh] = {}
        self._urgent = False
        self._later: deque[Callable[[], None]] = deque()
        """Work between two steps."""
        self._handed_over_at = 0.0
        self._ended = False

    def run(self) -> None:
        # The number is fixed for this thread by the two calls together, so that the worker, which
        # computes on one core, does not change it.
        torch.set_num_threads(self._cores)
        torch.get_num_threads()
        while not self._ended:
            try:
                self._turn()
            except Exception as error:
                # Without this thread nothing would be generated any more.
                log.exception("A fault of the program ended every text.")
                self._drop_all(error)

    def _turn(self) -> None:
        """Do what is asked for, and draw one token of every sample."""
        # With nothing to do the thread sleeps until it is called.
        if not (self._waiting or self._running or self._later):
            self._batch.calls.get()()
        while not self._batch.calls.empty():
            self._batch.calls.get()()
        if self._later:
            self._later.popleft()()
        self._admit()
        for engine in list(self._running):
            self._step(engine)
        self._hand_over()

    def _drop_all(self, error: Exception) -> None:
        """End every job with an error."""
        owned = [(engine, id, job) for engine, ids in self._running.items() for id, (job, _) in ids.items()]
        jobs = {job for _, _, job in owned} | {job for job, _ in self._waiting}
        self._waiting.clear()
        self._running.clear()
        self._fresh.clear()
        self._count()
        for engine, id, _ in owned:
            engine.cancel(id)
        self._batch.in_loop(self._batch.fail, list(jobs), error)

    def end(self) -> None:
        self._ended = True

    def enter(self, job: Job) -> None:
        self._waiting += [(job, index) for index in range(len(job.requests))]

    def later(self, result: Future[T], function: Callable[[], T]) -> None:
        """Call a function before one of the next steps, unless nobody waits for its result then."""

        def work() -> None:
            if result.set_running_or_notify_cancel():
                torch.set_num_threads(self._cores)
                try:
                    result.set_result(function())
                except Exception as error:
                    result.set_exception(error)

        self._later.append(work)

    def cancel(self, job: Job) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not job)
        self._fresh.pop(job, None)
        ids = self._running.get(job.engine, {})
        for id in [id for id, (owner, _) in ids.items() if owner is job]:
            job.engine.cancel(id)
            del ids[id]
        self._count()

    def _admit(self) -> None:
        """Let waiting samples join their engines, in order, as far as there is room."""
        tokens, newest, later = 0, None, deque[tuple[Job, int]]()
        while self._waiting:
            job, index = self._waiting.popleft()
            request = job.requests[index]
            ids = self._running.get(job.engine, {})
            # The samples of one prompt share its reading.
            cost = 0 if request.prompt is newest else len(request.prompt)
            if len(ids) >= self._batch.most_running or (tokens and tokens + cost > TOKENS_TO_JOIN):
                later.append((job, index))
                continue
            try:
                if self._batch.choose_threads and job.engine not in self._threads:
                    self._threads[job.engine] = fastest_threads(job.engine, self._cores)
                number = job.engine.add(request)
            except Exception as error:
                self._batch.in_loop(self._batch.fail, [job], error)
                continue
            tokens, newest = tokens + cost, request.prompt
            self._running.setdefault(job.engine, ids)[number] = (job, index)
        self._waiting = later
        self._count()

    def _step(self, engine: GenerationEngine) -> None:
        """Draw a token of each sample of an engine."""
        ids = self._running[engine]
        torch.set_num_threads(self._threads.get(engine, self._cores))
        try:
            pieces = engine.step() if ids else []
        except Exception as error:
            log.error("Generation failed: %s", error)
            for id in ids:
                engine.cancel(id)
            self._batch.in_loop(self._batch.fail, list({job for job, _ in ids.values()}), error)
            ids.clear()
            pieces = []
        self._batch.tokens += len(ids)
        for piece in pieces:
            job, index = ids[piece.id]
            self._fresh.setdefault(job, []).append((index, piece))
            if piece.sample is not None:
                del ids[piece.id]
            if piece.sample is not None or (job.streamed and not job.begun):
                self._urgent = job.begun = True
        if not ids:
            del self._running[engine]
        self._count()

    def _count(self) -> None:
        self._batch.running = sum(map(len, self._running.values()))

    def _hand_over(self) -> None:
        """Give the event loop the new pieces, unless it got some a moment ago."""
        now = time.perf_counter()
        due = now - self._handed_over_at > HANDOVER_S and any(job.streamed for job in self._fresh)
        if self._fresh and (self._urgent or due):
            fresh, self._fresh = self._fresh, {}
            self._batch.in_loop(self._batch.deliver, fresh)
            self._urgent, self._handed_over_at = False, now


async def _of_app(connection: HTTPConnection) -> Batch:
    batch: Batch = connection.app.state.batch
    return batch


RunningBatch = Annotated[Batch, Depends(_of_app)]
"""The type of a handler's argument that gets the batch."""

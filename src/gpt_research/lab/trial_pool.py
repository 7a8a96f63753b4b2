"""Processes that take trials side by side and stay, so that each loads torch only once.

On a CPU each has one thread, so that its numbers do not depend on how many run at the same time; on
GPUs each has a card. This module imports no torch, because a process must know its threads first.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from gpt_research.base import stopping, wait_policy
from gpt_research.base.errors import UserError
from gpt_research.base.parent import end_worker_with_parent
from gpt_research.base.pools import said_end

Job = TypeVar("Job")


class TrialPool:
    """Some processes; a context that ends them."""

    def __init__(self, environments: Iterable[Mapping[str, str]]) -> None:
        """Make room for processes, which start with their first trial.

        Args:
            environments: of each process, what differs from this one's.
        """
        context = multiprocessing.get_context("forkserver")
        self._before = set(multiprocessing.active_children())
        self._processes: set[BaseProcess] = set()
        # A pool of one process each, because a process keeps its card.
        self._workers = [
            ProcessPoolExecutor(1, context, initializer=_begin, initargs=(dict(environment),))
            for environment in environments
        ]

    def __enter__(self) -> TrialPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:  # nobody waits for what has begun; it goes on from its checkpoint
            for process in self._processes:
                process.kill()
        for worker in self._workers:
            worker.shutdown(cancel_futures=True)

    def results(self, function: Callable[[Job], Any], jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Yield each job with what the function returns for it, as they are finished.

        Args:
            function: a function of a module, which another process can import.

        Raises:
            UserError: a process ended before its time, or the function raised it.
        """
        waiting, free = list(jobs), list(self._workers)
        running: dict[Future[Any], tuple[Job, ProcessPoolExecutor]] = {}
        while waiting or running:
            with stopping.deferred():  # a process that is not known yet could not be ended
                while waiting and free:
                    job, worker = waiting.pop(0), free.pop(0)
                    running[worker.submit(function, job)] = job, worker
                self._processes |= set(multiprocessing.active_children()) - self._before
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, worker = running.pop(future)
                try:
                    yield job, future.result()
                except BrokenProcessPool:
                    worker.shutdown()
                    raise UserError(
                        f"A process {said_end(self._processes)}. Start the same command again, with fewer --workers if "
                        "memory is short: what is done stays."
                    ) from None
                free.append(worker)


def environments(count: int, cards: bool) -> list[dict[str, str]]:
    """Return what each of some processes has for itself: one thread, or a card."""
    if not cards:
        return [{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}] * count
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:count]]


def _begin(environment: Mapping[str, str]) -> None:
    """Prepare a process for its trials."""
    os.environ.update(environment)
    wait_policy.choose_for_worker()
    end_worker_with_parent()

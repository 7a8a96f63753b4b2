"""datatrove's executor for this machine, on processes whose death is noticed, and without a word on the terminal."""

from __future__ import annotations

import multiprocessing
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from datatrove.executor import LocalPipelineExecutor
from datatrove.utils.stats import PipelineStats
from loguru import logger

from gpt_research.data.executors import rarely_collect_garbage
from gpt_research.errors import UserError


class LocalExecutor(LocalPipelineExecutor):
    """Runs the tasks that are not done, `workers` at a time; one worker is this process."""

    def run(self) -> None:
        """Run them; what one raises ends the others."""
        ranks = self.get_incomplete_ranks()
        if self.workers == 1 or not ranks:
            for rank in ranks:
                self._run_for_rank(rank)
            return
        # datatrove's own pool waits for ever where a worker is killed.
        processes = min(self.workers, len(ranks))
        forkserver = multiprocessing.get_context("forkserver")
        pool = ProcessPoolExecutor(processes, forkserver, initializer=rarely_collect_garbage)
        try:
            for done in as_completed([pool.submit(self._run_for_rank, rank) for rank in ranks]):
                done.result()
        except BrokenProcessPool:
            raise UserError(
                "A worker was killed, as the system does where memory runs out. Start again with fewer --workers: "
                "what is done stays."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        """Run one task and mark it done, without the loggers that datatrove opens, which take longer than a small task.

        What a task dies of goes to the logs.
        """
        logger.remove()
        try:
            for stage in self.pipeline:
                stage(None, rank, self.world_size)
        except Exception as error:
            with self.logging_dir.open(f"task_{rank:05d}.log", "w") as file:
                traceback.print_exc(file=file)
            if isinstance(error, UserError | OSError):
                raise
            # Not every kind of error can go from one process to another.
            raise RuntimeError(f"task {rank}: {type(error).__name__}: {error}") from None
        self.mark_rank_as_completed(rank)
        return PipelineStats()

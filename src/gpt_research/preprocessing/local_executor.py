"""datatrove's executor for this machine, on processes whose death is noticed, and without a word on the terminal."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from loguru import logger

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.executors import rarely_collect_garbage, run_task


class LocalExecutor(LocalPipelineExecutor):
    """Runs the tasks of its one stage that are not done, `workers` at a time; one worker is this process.

    Workers know nothing of datatrove: to import it takes longer than a small task, as do the loggers that it opens.
    """

    def run(self) -> None:
        """Run them; what one raises ends the others."""
        logger.remove()  # datatrove's own lines; its logs stand in the work folder
        [stage], ranks, logs = self.pipeline, self.get_incomplete_ranks(), Path(self.logging_dir.path)
        if self.workers == 1 or not ranks:
            for rank in ranks:
                run_task(stage, rank, self.world_size, logs)
            return
        # datatrove's own pool waits for ever where a worker is killed.
        processes = min(self.workers, len(ranks))
        forkserver = multiprocessing.get_context("forkserver")
        pool = ProcessPoolExecutor(processes, forkserver, initializer=rarely_collect_garbage)
        try:
            for done in as_completed([pool.submit(run_task, stage, rank, self.world_size, logs) for rank in ranks]):
                done.result()
        except BrokenProcessPool:
            raise UserError(
                "A worker was killed, as the system does where memory runs out. Start again with fewer --workers: "
                "what is done stays."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

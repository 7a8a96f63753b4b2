"""Runs trials side by side, each as a `train` command in a process of its own.

On a CPU each has one thread, so that its numbers do not depend on how many run at the same time; on
GPUs each has a card. A process that dies is started once more, and goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from gpt_research.base import machine, parent, plugins
from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.lab.outcome import Outcome
from gpt_research.lab.trial_pool import environments
from gpt_research.lab.trials import Trial, last_words

LOOKS_EVERY_S = 0.2
SAVES_WITHIN_S = 60.0
"""The time that a run gets to save when the experiment is stopped."""
TRIES = 2
"""How often a run is started whose process is killed."""


@dataclass
class Running:
    """A trial that is being trained."""

    trial: Trial
    process: subprocess.Popen[str]
    held: contextlib.ExitStack
    slot: str
    """The card, or the number of the worker."""
    started_at: float


class Workers:
    """The processes of an experiment; a context that stops them at its end."""

    def __init__(self, count: int, *, cards: bool = False, keep_checkpoints: bool = False) -> None:
        """Make room for some processes.

        Args:
            cards: give each a GPU of its own, in place of one thread.
        """
        self.count, self.keep_checkpoints = count, keep_checkpoints
        self._environments = environments(count, cards)
        self._running: list[Running] = []
        self._tries: dict[str, int] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop(self._running)

    @property
    def has_room(self) -> bool:
        return len(self._running) < self.count

    @property
    def running(self) -> list[Trial]:
        return [running.trial for running in self._running]

    def start(self, trial: Trial) -> None:
        """Start a trial, or go on with it."""
        settings = trial.prepare()
        taken = {running.slot for running in self._running}
        slot = next(str(number) for number in range(self.count) if str(number) not in taken)
        environment = {**os.environ, **self._environments[int(slot)]}
        arguments = ["-m", "gpt_research", "train", "--config", str(settings)]
        for plugin in plugins.LOADED.values():
            arguments += ["--plugin", str(plugin)]
        held = contextlib.ExitStack()
        log = held.enter_context(trial.path(".log").open("a", encoding="utf-8"))
        process = held.enter_context(
            parent.started_python(
                arguments, environment=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        )
        self._running.append(Running(trial, process, held, slot, time.monotonic()))

    def finished(self, meanwhile: Callable[[], None] = lambda: None) -> tuple[Trial, Outcome]:
        """Wait for a trial to end; return it and what came of it.

        Args:
            meanwhile: called again and again while nothing has ended.

        Raises:
            UserError: it could not be trained, for a reason that is not in its recipe.
        """
        while True:
            for running in self._running:
                code = running.process.poll()
                if code is None:
                    continue
                self._running.remove(running)
                running.held.close()
                outcome = self._concluded(running.trial, code)
                if outcome is not None:
                    return running.trial, outcome
                break
            else:
                meanwhile()
                time.sleep(LOOKS_EVERY_S)

    def _concluded(self, trial: Trial, code: int) -> Outcome | None:
        """Return the outcome of a trial that has ended, or None if it was started once more."""
        outcome = trial.conclude(code, keep_checkpoints=self.keep_checkpoints)
        if outcome.state != "failed":
            return outcome
        tries = self._tries[trial.name] = self._tries.get(trial.name, 1) + 1
        killed = code < 0 or code > 128
        if killed and tries <= TRIES:
            self.start(trial)
            return None
        why = last_words(trial.path(".log"), code).rstrip(".")
        again = f" It was started {TRIES} times." if killed else ""
        raise UserError(
            f"The run {trial.run} ended before its last step: {why}.{again} Its log "
            f"is {trial.path('.log')}. What is done stays; start the same command again to go on."
        )

    def drop(self, unwanted: Callable[[Trial], bool]) -> None:
        """Stop the trials that are not needed any more, and remove what they have written."""
        chosen = [running for running in self._running if unwanted(running.trial)]
        self.stop(list(chosen))
        for running in chosen:
            shutil.rmtree(running.trial.run, ignore_errors=True)

    def stop(self, chosen: list[Running]) -> None:
        """Let processes save and end."""
        for running in chosen:
            with contextlib.suppress(ProcessLookupError):
                running.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + SAVES_WITHIN_S
        for running in list(chosen):
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()
            running.held.close()
            self._running.remove(running)

    def all_of(self, trials: Iterable[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Yield trials with their outcomes, those first that have one already; train the others."""
        waiting = []
        for trial in trials:
            if (outcome := trial.outcome()) is not None:
                yield trial, outcome
            else:
                waiting.append(trial)
        while waiting or self.running:
            while waiting and self.has_room:
                self.start(waiting.pop(0))
            yield self.finished()


def usual_workers(config: TrainConfig, asked: int) -> tuple[int, bool]:
    """Return how many runs go at the same time, and whether each takes a card.

    Args:
        asked: the number that the user wants; 0 takes all cores or cards.

    Raises:
        UserError: the machine has fewer cards.
    """
    if config.device in ("auto", "cuda") and (cards := torch.cuda.device_count()):
        if asked > cards:
            raise UserError(f"workers is {asked}, but this machine has {cards} cards, and each run takes one.")
        return asked or cards, True
    on_cpu = config.device in ("auto", "cpu") and not torch.backends.mps.is_available()
    return asked or (max(1, int(machine.usable_cores())) if on_cpu else 1), False

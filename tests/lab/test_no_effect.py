"""Real experiments of which the truth is known: both arms are one recipe, with different seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_runs import MadeUpRuns
from small_training import small_training

from gpt_research.lab.ablation import Ablation, Question
from gpt_research.lab.arms import BASE, Arm
from gpt_research.lab.outcome import Outcome
from gpt_research.lab.records import Experiment, asked_of
from gpt_research.lab.trials import Trial
from gpt_research.model_config import GPTConfig
from gpt_research.training import loop

EXPERIMENTS, PAIRS = 20, 5


class OtherSeeds(MadeUpRuns):
    """Trains for real, in this process; the runs of the arm have seeds that the base has not."""

    def __init__(self) -> None:
        super().__init__(lambda _: None, count=1)

    def finished(self, meanwhile: Callable[[], None] = lambda: None) -> tuple[Trial, Outcome]:
        trial = self._waiting.pop(0)
        shift = 0 if trial.arm.name == BASE else 100_000
        loop.train(replace(trial.config, seed=trial.seed + shift))
        return trial, trial.conclude(0, keep_checkpoints=False)


@pytest.mark.slow
def test_recipes_that_are_equal_are_rarely_called_different(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Drawing and sampling take longer than these runs do.
    monkeypatch.setattr(loop, "draw_loss_curve", lambda run: None)
    monkeypatch.setattr(loop.Trainer, "write_sample", lambda self, step: None)
    shape = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=16)
    base = small_training(
        dataset_folder, model=shape, tokens_per_step=64, max_steps=10, eval_tokens=512, save_interval=0
    )
    claims = 0
    for number in range(EXPERIMENTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = replace(base, seed=1000 * number)
        arms = [Arm(BASE, config, {}), Arm("the same", config, {})]
        data = {"folder": base.data, "fingerprint": "not asked"}
        experiment = Experiment(folder, "ablation", "", "", asked_of(arms), data)
        question = Question(arms, PAIRS, None, [1.0], "")
        (finding,) = Ablation(question, folder, OtherSeeds(), experiment, lambda _: None, lambda _: None).run()
        assert finding.comparison.pairs >= 3
        claims += finding.comparison.verdict in ("better", "worse")
    assert claims <= 3

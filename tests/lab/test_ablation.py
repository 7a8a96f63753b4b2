"""An ablation trains the pairs that it needs, stops when they say something, and goes on where it
was.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import BASE, MadeUpRuns, ablation

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.lab.findings import in_words
from gpt_research.lab.results import RESULT, write_result
from gpt_research.lab.trials import Trial


def noise(*key: int | str) -> float:
    return float(np.random.default_rng(seed_for(*key)).normal())


def losses(effects: dict[str, float], paired: float = 0.01) -> object:
    """Bits per byte with an effect for each arm, noise of a seed that all arms share, and more."""

    def loss(trial: Trial) -> float:
        shared = 0.05 * noise("seed", trial.seed)
        return 2.0 + effects.get(trial.arm.name, 0.0) + shared + paired * noise(trial.arm.name, trial.seed)

    return loss


def test_a_large_effect_is_decided_early_and_a_missing_one_never(tmp_path: Path) -> None:
    runs = MadeUpRuns(losses({"rope": -0.2}))
    found = ablation(tmp_path, runs, "rope: model.positions=rope", "plain: model.bias=false").run()
    rope, plain = (finding.comparison for finding in found)
    assert (rope.verdict, rope.holm) == ("better", "better")
    assert 3 <= rope.pairs < 8
    assert abs(rope.bits_per_byte.mean + 0.2) < 0.05
    assert (plain.verdict, plain.pairs) == ("not decided", 8)
    assert f"an effect smaller than {plain.smallest_visible:.4f} is seen in fewer than half" in in_words(plain, 8)
    assert plain.seed_noise > 0.02
    assert plain.pairing_gain > 5, "the noise of a seed is in both runs of a pair"
    # No run of an arm that is settled was begun, but those beside which a worker would have idled.
    assert sum(name.startswith("rope/") for name in runs.begun) <= rope.pairs + 1


def test_all_pairs_are_trained_if_they_are_asked_for(tmp_path: Path) -> None:
    runs = MadeUpRuns(losses({"rope": -0.2}))
    found = ablation(tmp_path, runs, "rope: model.positions=rope", "plain: model.bias=false", all_pairs=True).run()
    assert [(finding.comparison.pairs, finding.comparison.verdict) for finding in found] == [
        (8, "better"),
        (8, "not decided"),
    ]
    assert len(runs.begun) == len(set(runs.begun)) == 3 * 8


def test_holm_asks_for_more_where_many_arms_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arms = [f"arm{n}: learning_rate={n + 1}e-3" for n in range(6)]
    claims = corrected = 0

    def loss(trial: Trial) -> float:
        return 2.0 + (0.0 if trial.arm.name == "base" else noise(str(trial.root), trial.arm.name, trial.seed))

    for experiment in range(24):
        folder = Path(str(experiment))
        folder.mkdir()
        runs = MadeUpRuns(loss)
        found = ablation(folder, runs, *arms).run()
        claims += sum(finding.comparison.verdict != "not decided" for finding in found)
        corrected += any(finding.comparison.holm != "not decided" for finding in found)
    assert claims > 3, "144 comparisons of nothing, each with an error of 5%"
    assert corrected <= 2
    assert corrected < claims


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    changes = ("rope: model.positions=rope", "plain: model.bias=false")

    class Interrupted(MadeUpRuns):
        def finished(self, *arguments: object) -> object:
            if len(self.begun) > 7:
                raise KeyboardInterrupt
            return super().finished()

    first = Interrupted(losses({}))
    with pytest.raises(KeyboardInterrupt):
        ablation(tmp_path, first, *changes).run()
    second = MadeUpRuns(losses({}))
    found = ablation(tmp_path, second, *changes).run()
    whole = MadeUpRuns(losses({}))
    (tmp_path / "whole").mkdir()
    assert found == ablation(tmp_path / "whole", whole, *changes).run()
    assert len(set(first.begun) - set(second.begun)) >= 6, "what was done is not done again"
    assert set(first.begun) | set(second.begun) == set(whole.begun)


def test_another_question_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false")
    with pytest.raises(UserError, match=r"another arms.*the command"):
        ablation(tmp_path, MadeUpRuns(losses({})), "model.qk_norm=true")
    for change in ({"eval_tokens": 64}, {"device": "mps"}):
        base = dataclasses.replace(BASE, **change)
        with pytest.raises(UserError, match=rf"another {next(iter(change))}\)"):
            ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false", base=base)
    with pytest.raises(UserError, match="another pairs"):
        ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false", pairs=9)
    with pytest.raises(UserError, match="The data set d is not the one"):
        ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false", fingerprint="other")
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false")


def test_an_experiment_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false")
    record = tmp_path / "experiment.json"
    before = json.loads(record.read_text())
    for settings in before["asked"]["arms"].values():
        del settings["eval_tokens"], settings["device"]
    del before["spent_s"]
    record.write_text(json.dumps(before))
    ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false")
    base = dataclasses.replace(BASE, eval_tokens=64)
    with pytest.raises(UserError, match=r"another eval_tokens\)"):
        ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false", base=base)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    record = tmp_path / "base" / "seed-1.json"
    record.parent.mkdir()
    record.write_text("{")
    with pytest.raises(UserError, match=r"base/seed-1.json is damaged"):
        ablation(tmp_path, MadeUpRuns(losses({})), "model.bias=false").run()


def test_an_arm_that_diverges_is_reported(tmp_path: Path) -> None:
    runs = MadeUpRuns(lambda trial: None if trial.arm.name == "hot" and trial.seed == 2 else 2.0 + trial.seed / 100)
    (finding,) = ablation(tmp_path, runs, "hot: learning_rate=1").run()
    assert finding.comparison.verdict == "diverged"
    assert "diverged (1 run" in in_words(finding.comparison, 8)


def test_a_base_that_diverges_is_reported(tmp_path: Path) -> None:
    def loss(trial: Trial) -> float | None:
        diverges = trial.arm.name == "base" and trial.seed in (2, 4)
        return None if diverges else 2.0 + trial.seed / 100 - 0.1 * (trial.arm.name == "calm")

    (finding,) = ablation(tmp_path, MadeUpRuns(loss), "calm: learning_rate=1e-5").run()
    found = finding.comparison
    assert (found.verdict, found.holm, found.base_diverged, found.pairs) == ("base diverged", "base diverged", 1, 1)
    said = in_words(found, 8)
    assert said == (
        "calm: the base diverged (1 run of it did not end with finite numbers, and those of calm did). "
        "In the other 1 pair: -0.1000 bits per byte."
    )
    (tmp_path / "all").mkdir()
    runs = MadeUpRuns(loss)
    (finding,) = ablation(tmp_path / "all", runs, "calm: learning_rate=1e-5", all_pairs=True).run()
    assert (finding.comparison.base_diverged, finding.comparison.pairs) == (2, 6)
    assert "(2 runs of it" in in_words(finding.comparison, 8)
    assert "In the other 6 pairs: -0.1000 bits per byte (95%: " in in_words(finding.comparison, 8)
    both = MadeUpRuns(lambda trial: None)
    (tmp_path / "both").mkdir()
    (finding,) = ablation(tmp_path / "both", both, "hot: learning_rate=1").run()
    assert in_words(finding.comparison, 8).startswith("hot: diverged (1 run of it, and 1 run of the base did not")


def test_runs_that_are_equal_to_the_bit_say_so(tmp_path: Path) -> None:
    class Equal(MadeUpRuns):
        def finished(self, *arguments: object) -> object:
            trial, outcome = super().finished()
            object.__setattr__(outcome, "weights_sha256", str(trial.seed))
            return trial, outcome

    runs = Equal(lambda trial: 2.0 + trial.seed)
    (finding,) = ablation(tmp_path, runs, "logs: log_interval=7").run()
    assert (finding.comparison.verdict, finding.comparison.pairs) == ("equal to the bit", 1)


def test_a_budget_decides_the_number_of_pairs(tmp_path: Path) -> None:
    # Two workers train a pair in a minute.
    found = ablation(tmp_path, MadeUpRuns(losses({})), "plain: model.bias=false", pairs=None, budget_s=5.5 * 60)
    (finding,) = found.run()
    assert (found.most_pairs, finding.comparison.pairs) == (5, 5)
    assert json.loads((tmp_path / "experiment.json").read_text())["most_pairs"] == 5
    # It is not decided anew if the machine is faster later.
    again = ablation(tmp_path, MadeUpRuns(losses({}), seconds=1), "plain: model.bias=false", pairs=None, budget_s=9000)
    again.run()
    assert again.most_pairs == 5


def test_a_budget_of_both_kinds_ends_by_the_first(tmp_path: Path) -> None:
    (finding,) = ablation(tmp_path, MadeUpRuns(losses({})), "plain: model.bias=false", pairs=8, budget_s=3.5 * 60).run()
    assert finding.comparison.pairs == 3


@pytest.mark.parametrize(
    ("workers", "start_s", "budget_s"), [(2, 0, 240), (2, 7, 280), (3, 0, 200), (3, 5, 240), (16, 0, 240), (16, 5, 240)]
)
def test_a_budget_is_kept_on_any_number_of_workers(
    tmp_path: Path, workers: int, start_s: float, budget_s: float
) -> None:
    runs = MadeUpRuns(losses({}), workers, start_s=start_s)
    one = ablation(tmp_path, runs, "plain: model.bias=false", pairs=None, budget_s=budget_s)
    (finding,) = one.run()
    assert finding.comparison.pairs == one.most_pairs, "all pairs that were planned"
    assert 0.6 * budget_s <= runs.now <= budget_s


def test_the_time_of_earlier_sessions_counts(tmp_path: Path) -> None:
    class Interrupted(MadeUpRuns):
        def finished(self, *arguments: object) -> object:
            if len(self.begun) > 5:
                raise KeyboardInterrupt
            return super().finished()

    first = Interrupted(losses({}))
    question = {"pairs": 8, "budget_s": 330.0}
    with pytest.raises(KeyboardInterrupt):
        ablation(tmp_path, first, "plain: model.bias=false", **question).run()
    second = MadeUpRuns(losses({}))
    (finding,) = ablation(tmp_path, second, "plain: model.bias=false", **question).run()
    assert (first.now, second.now, finding.comparison.pairs) == (120, 180, 5)
    # A folder of an earlier version has not noted it: the time of the runs stands for it.
    record = tmp_path / "experiment.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "spent_s": None}))
    third = MadeUpRuns(losses({}))
    (finding,) = ablation(tmp_path, third, "plain: model.bias=false", **question).run()
    assert (third.begun, finding.comparison.pairs) == ([], 5)


@pytest.mark.parametrize("horizons", [(1.0,), (0.5, 1.0)])
def test_the_answer_does_not_depend_on_which_runs_were_quick(tmp_path: Path, horizons: tuple[float, ...]) -> None:
    changes = ("rope: model.positions=rope", "plain: model.bias=false", "norm: model.qk_norm=true")
    found = []
    for workers in (1, 3, 64):
        folder = tmp_path / str(workers)
        folder.mkdir()
        for again in (False, True):
            runs = MadeUpRuns(losses({"rope": -0.2, "norm": -0.02}), workers)
            one = ablation(folder, runs, *changes, horizons=horizons)
            found.append((one.run(), [list(one.counted(arm.name)) for arm in one.arms]))
            assert again <= (not runs.begun), "nothing is trained again"
    assert all(other == found[0] for other in found)


def test_a_budget_below_one_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="budget is 61 seconds, but one pair"):
        ablation(tmp_path, MadeUpRuns(losses({})), "plain: model.bias=false", pairs=None, budget_s=61).run()


def test_each_arm_is_tuned_on_seeds_of_its_own(tmp_path: Path) -> None:
    best = {"base": 0.004, "muon": 0.04}

    def loss(trial: Trial) -> float | None:
        rate = trial.arm.config.learning_rate
        if rate > 0.2:
            return None
        return 2.0 + 0.1 * math.log2(rate / best[trial.arm.name]) ** 2 + 0.001 * noise(trial.arm.name, trial.seed)

    base = BASE.__class__(**{**vars(BASE), "learning_rate": 0.001})
    runs = MadeUpRuns(loss)
    one = ablation(tmp_path, runs, "muon: optimizer.name=muon,learning_rate=0.02", tune="learning_rate", base=base)
    one.run()
    assert [arm.config.learning_rate for arm in one.arms] == [0.004, 0.04]
    assert all(bracket.is_bracketed for bracket in one.tuning.values())
    compared = {name.rpartition("-")[2] for name in runs.begun if "tuning" not in name}
    tuned = {name.rpartition("-")[2] for name in runs.begun if "tuning" in name}
    assert compared
    assert not compared & tuned


def test_a_setting_that_is_no_number_cannot_be_tuned(tmp_path: Path) -> None:
    for name in ("schedule", "model.bias", "model.nothing", "eval_tokens", "keep_last", "max_steps"):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=name):
            ablation(tmp_path / name, MadeUpRuns(losses({})), "model.qk_norm=true", tune=name).run()


def curve(trial: Trial) -> float:
    """A loss that falls with the logarithm of the tokens; the arm needs a share of them."""
    share = {"fast": 1 / 1.6, "slow": 1.4, "faster": 1 / 3}.get(trial.arm.name, 1.0)
    tokens = trial.config.max_steps / share
    return 3.0 - 0.2 * math.log(tokens) + 0.01 * noise("seed", trial.seed) + 0.0005 * noise(trial.arm.name, trial.seed)


def test_tokens_to_the_same_loss(tmp_path: Path) -> None:
    changes = ("fast: model.positions=rope", "slow: model.bias=false", "faster: model.qk_norm=true")
    found = ablation(tmp_path, MadeUpRuns(curve), *changes, horizons=(0.5, 1.0)).run()
    fast, slow, faster = (finding.tokens for finding in found)
    assert fast.low < 1.6 < fast.high
    assert fast.high - fast.low < 0.2
    assert slow.low < 1 / 1.4 < slow.high
    assert (faster.beyond, faster.in_words()) == ("more", "more than 2.00")
    assert found[0].time.mean == pytest.approx(fast.mean)  # the runs are of one speed
    assert found[0].shorter[0].horizon == 0.5


def test_a_ratio_of_two_pairs_has_no_interval(tmp_path: Path) -> None:
    one = ablation(tmp_path, MadeUpRuns(curve), "fast: model.positions=rope", horizons=(0.5, 1.0))
    seen = []
    one.publish = lambda ablation: seen.extend(finding.tokens for finding in ablation.findings)
    one.run()
    assert [ratio.low is None for ratio in seen[:3]] == [True, True, False]
    assert seen[0].in_words() == f"{seen[0].mean:.2f} (no interval yet)"
    assert seen[2].low < 1.6 < seen[2].high


def test_the_result_is_whole_json(tmp_path: Path, dataset_folder: Path) -> None:
    base = BASE.__class__(**{**vars(BASE), "data": str(dataset_folder)})
    one = ablation(tmp_path, MadeUpRuns(curve), "fast: model.positions=rope", horizons=(0.5, 1.0), base=base)
    one.run()
    write_result(one)
    result = json.loads((tmp_path / RESULT).read_text())
    assert [arm["name"] for arm in result["arms"]] == ["base", "fast"]
    assert result["arms"][1]["changes"] == {"model.positions": "rope"}
    assert result["arms"][0]["parameters"] > 0
    assert len(result["arms"][0]["runs"]) == 2 * result["comparisons"][0]["pairs"]
    assert [c["horizon"] for c in result["comparisons"]] == [1.0, 0.5]
    assert result["comparisons"][0]["tokens_ratio"]["mean"] > 1
    assert len(result["sentences"]) == 3

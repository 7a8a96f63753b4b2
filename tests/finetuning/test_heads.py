"""Heads and input forms as GPT-1 has them, and the promises of the training loop."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from finetuning.conftest import rows_of, write_rows

from gpt_research.base import hints, startup
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import checkpoint_path, load_newest, saved_steps
from gpt_research.cli import main
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation import run_groups
from gpt_research.evaluation.run_groups import differing_settings, grouped
from gpt_research.finetuning.batches import NumberedExamples, Sequences, head_batch
from gpt_research.finetuning.examples import Example
from gpt_research.finetuning.fine_tuned import evaluate_fine_tuned, open_fine_tuned, settings_of
from gpt_research.finetuning.finetune import finetune, prepared
from gpt_research.finetuning.forms import HEAD_TOKENS, HeadForm, with_special_tokens
from gpt_research.finetuning.head_objective import HeadObjective
from gpt_research.finetuning.models import HeadedGPT, loss_of_counted
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.report import open_run
from gpt_research.report.known_run import evaluate_command
from gpt_research.run import Run
from gpt_research.run_reference import run_reference
from gpt_research.training.lineage import NOT_OF_A_FINE_TUNING
from gpt_research.training.loop import Trainer
from gpt_research.training.metrics import read_metrics
from gpt_research.training.reporter import Reporter

Settings = Callable[..., FinetuneSettings]


def tensors_of(run: Path | str) -> dict[str, torch.Tensor]:
    found = load_newest(Path(run))
    assert found is not None
    return {**found.model, **found.optimizer}


def trainer_of(settings: FinetuneSettings) -> Trainer:
    config, objective = prepared(settings)
    return Trainer(config, startup.start("cpu", "fp32"), objective, Reporter())


def test_the_forms_are_those_of_gpt_1(pretrained: Path) -> None:
    tokenizer = with_special_tokens(Tokenizer.load(pretrained / "tokenizer.json"), HEAD_TOKENS)
    start, delimiter, extract = range(300, 303)
    a, b, c = (tokenizer.encode(text) for text in ("the king", "a fool", "Romeo"))

    def of(task: str, *texts: str, context: int = 32) -> list[list[int]]:
        return HeadForm(task, tokenizer, context).sequences(Example("", texts)).tokens

    assert of("classify", "the king") == [[start, *a, extract]]
    pair = [start, *a, delimiter, *b, extract]
    assert of("pairs", "the king", "a fool") == [pair]
    assert of("similarity", "the king", "a fool") == [pair, [start, *b, delimiter, *a, extract]]
    choices = [[start, *a, delimiter, *answer, extract] for answer in (b, c)]
    assert of("choice", "the king", "a fool", "Romeo") == choices
    assert with_special_tokens(tokenizer, HEAD_TOKENS) is tokenizer
    # A text that spells a special token stays a text.
    assert start not in of("classify", "<|start|>")[0][1:]


def test_a_long_example_is_cut_where_its_task_can_spare_it(pretrained: Path) -> None:
    tokenizer = with_special_tokens(Tokenizer.load(pretrained / "tokenizer.json"), HEAD_TOKENS)
    long, short = "the king loves the crown and the fool", "Romeo"
    tokens, few = tokenizer.encode(long), tokenizer.encode(short)
    made = HeadForm("classify", tokenizer, 8).sequences(Example("", (long,)))
    assert made.cut
    assert made.tokens[0][1:-1] == tokens[:6]
    # The longer text of a pair gives way, and the answers of a choice are never cut.
    made = HeadForm("pairs", tokenizer, len(few) + 7).sequences(Example("", (long, short)))
    assert made.tokens[0][1:5] == tokens[:4]
    assert made.tokens[0][6:-1] == few
    made = HeadForm("choice", tokenizer, len(few) + 7).sequences(Example("", (long, short, short)))
    assert made.tokens[0][1:5] == tokens[-4:]
    with pytest.raises(UserError, match=r"line 7: its longest answer has .* tokens, which leave no room"):
        HeadForm("choice", tokenizer, 8).sequences(Example("line 7", (short, long, short)))


@pytest.mark.parametrize("task", ["classify", "pairs", "similarity", "choice"])
def test_the_loss_is_that_of_gpt_1_example_by_example(settings: Settings, task: str) -> None:
    """The loss of a step, of batches and micro-batches, against one sequence at a time."""
    trainer = trainer_of(settings(task, dropout=0.0, lm_weight=0.5))
    step, model, objective = trainer.train_step, trainer.model, trainer.data
    assert isinstance(objective, HeadObjective)
    with torch.no_grad():
        for parameter in model.task_head.parameters():
            parameter.normal_(std=0.5)
    labels, sequences = objective.labels(objective.train), objective.sequences["train"]
    task_loss, lm_nats, lm_tokens = 0.0, 0.0, 0
    chosen = trainer.batches.order.of_step(1)
    for number in chosen:
        ends = []
        for tokens in sequences[number].tokens:
            row = torch.tensor([tokens])
            h = GPT.hidden(model, row)[0]
            ends.append(h[-1])
            lm_nats += F.cross_entropy(model.logits(h)[:-1], row[0, 1:], reduction="sum").item()
            lm_tokens += len(tokens) - 1
        head = model.task_head
        if task == "similarity":
            task_loss += (head(ends[0] + ends[1])[0].item() - labels[number]) ** 2
        else:
            scores = torch.cat([head(end) for end in ends])
            task_loss += F.cross_entropy(scores, torch.tensor(labels[number])).item()
    expected = task_loss / len(chosen) + 0.5 * lm_nats / lm_tokens
    got = step.accumulate(1)
    assert got is not None
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_examples_of_like_length_share_a_micro_batch(ranks: int) -> None:
    """Each pass still reads each example once; a step alone is split by length."""
    lengths = [5, 40, 7, 38, 6, 41, 8, 39]
    orders = [NumberedExamples(lengths, 8, 2, 1337, rank, ranks, "examples") for rank in range(ranks)]
    for step in range(3):
        parts = [order.chosen(step, micro) for micro in range(4 // ranks) for order in orders]
        assert [[lengths[number] for number in part] for part in parts] == [[41, 40], [39, 38], [8, 7], [6, 5]]
        assert [number for part in parts for number in part] == orders[0].of_step(step)
    smaller = NumberedExamples(lengths, 4, 2, 1337, 0, 1, "examples")
    assert sorted(smaller.of_step(2) + smaller.of_step(3)) == list(range(8))


def test_what_is_no_target_does_not_reach_the_vocabulary() -> None:
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=16))
    h = torch.randn(2, 4, 8)
    targets = torch.tensor([[3, 4, -1, -1], [5, 6, 7, -1]])
    expected = F.cross_entropy(model.logits(h)[targets >= 0], targets[targets >= 0], reduction="sum")
    h[targets < 0] = torch.nan
    h.requires_grad_()
    loss = loss_of_counted(model, h, targets)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert h.grad is not None
    assert h.grad.isfinite().all()


def test_a_run_that_was_stopped_equals_one_that_was_not(settings: Settings, tmp_path: Path) -> None:
    whole = finetune(settings(out=str(tmp_path / "whole")))
    halves = settings(out=str(tmp_path / "halves"))
    assert finetune(halves, until=3).step == 3
    resumed = dataclasses.replace(settings_of(run_reference(tmp_path / "halves")), resume=str(tmp_path / "halves"))
    assert finetune(resumed).steps_here == whole.step - 3 == 3
    one, two = tensors_of(whole.run), tensors_of(tmp_path / "halves")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    curves = [
        [(m["step"], m["loss"], m["tokens"]) for m in read_metrics(tmp_path / name) if "loss" in m]
        for name in ("whole", "halves")
    ]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 6
    assert main(["replay", str(whole.run), "--step", "5", "--device", "cpu"]) == 0  # 1 if the loss is another
    assert curves[0][-1][2] == 2 * sum(trainer_of(halves).batches.order.lengths)


def test_the_result_is_a_run_that_knows_where_it_comes_from(settings: Settings, pretrained: Path) -> None:
    asked = settings(epochs=24.0, learning_rate=0.01, dropout=0.0, eval_interval=12)
    outcome = finetune(asked)
    run = Run.open(outcome.run, step="best")
    assert type(run.model) is GPT
    assert run.model.config.vocab_size == run.tokenizer.vocab_size == 303
    origin, tuned = run.lineage["init_from"], run.lineage["finetune"]
    assert origin["run"] == str(pretrained)
    assert tuned["labels"] == ["bad", "good"]
    assert tuned["files"]["train"]["examples"] == 24
    assert len(tuned["files"]["val"]["sha256"]) == 64
    opened = open_fine_tuned(run_reference(f"{outcome.run}@best"), "")
    summary, result = evaluate_fine_tuned(opened, startup.start("cpu", "fp32"))
    scores = summary["tasks"]["finetuned/classify"]["scores"]
    assert scores["accuracy"]["value"] == 1.0
    low, high = scores["accuracy"]["interval"]
    assert high == 1.0
    assert 0.7 < low < 0.75  # 12 of 12, by Clopper and Pearson: 0.025 ** (1 / 12)
    logged = [m for m in read_metrics(outcome.run) if "val_loss" in m]
    best = min(logged, key=lambda m: m["val_loss"])
    assert best["step"] == run.step
    assert best["val_loss"] == pytest.approx(scores["loss"]["value"], rel=1e-6)
    assert best["val_accuracy"] == scores["accuracy"]["value"]


def test_seeds_of_a_fine_tuning_are_those_that_differ_in_nothing_else(settings: Settings, tmp_path: Path) -> None:
    changes = [{}, {}, {"lm_weight": 0.0}]
    runs = []
    for seed, change in enumerate(changes):
        out = tmp_path / str(seed)
        finetune(settings(epochs=0.1, val="", seed=seed, out=str(out), learning_rate=1e-4, **change))
        runs.append(str(out))
    groups = grouped([run_groups.open_run(run) for run in runs])
    assert [len(group.runs) for group in groups] == [2, 1]
    assert differing_settings(groups) == {"lm_weight": [0.5, 0.0]}
    assert open_run.open_run(runs[2])[0].settings["lm_weight"] == 0
    own = {field.name for field in dataclasses.fields(FinetuneSettings) if field.metadata.get("changeable")}
    assert own | {"run", "step", "seed"} == NOT_OF_A_FINE_TUNING


def test_the_first_layers_alone_may_be_transferred(settings: Settings, pretrained: Path) -> None:
    source = Run.open(pretrained).model
    for layers, kept in ((1, [True, False]), (0, [False, False]), (None, [True, True])):
        model = trainer_of(settings(layers=layers)).model
        same = [torch.equal(model.blocks[i].mlp.up.weight, source.blocks[i].mlp.up.weight) for i in range(2)]
        assert same == kept
        assert torch.equal(model.token_embedding.weight[:300], source.token_embedding.weight[:300])
        assert model.token_embedding.weight[300:303].std() > 0
    scratch = trainer_of(settings(from_scratch=True))
    assert not torch.equal(scratch.model.token_embedding.weight[:300], source.token_embedding.weight[:300])
    assert "init_from" not in scratch.state.lineage
    with pytest.raises(UserError, match=r"layers is 3, but .* has 2 blocks"):
        trainer_of(settings(layers=3))


def test_other_settings_or_data_are_not_mixed_into_a_run(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = settings()
    finetune(asked, until=2)
    with pytest.raises(UserError, match=r"fine-tuned with other settings \(lm_weight: 0.5 -> 0.0\)"):
        finetune(dataclasses.replace(asked, lm_weight=0.0))
    with pytest.raises(UserError, match="other settings"):
        finetune(dataclasses.replace(asked, learning_rate=1.0))
    write_rows(Path(asked.data), rows_of("classify", 24, seed=9))
    with pytest.raises(UserError, match="was trained on other data"):
        finetune(asked)
    assert main(["train", "--resume", asked.out]) == 2
    assert f"Go on with it by {hints.command('finetune', '--resume', asked.out)}" in capsys.readouterr().err
    state = json.loads((checkpoint_path(Path(asked.out), saved_steps(Path(asked.out))[-1]) / "state.json").read_text())
    assert state["lineage"]["finetune"]["task"] == "classify"


def test_a_run_goes_on_by_the_command_that_it_prints(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"sentence": row["text"], "kind": row["label"]} for row in rows_of("classify", 24)]
    data = write_rows(tmp_path / "named.jsonl", rows)
    asked = settings(columns={"text": "sentence", "label": "kind"}, data=data, val="", epochs=1.0)
    finetune(asked, until=1)
    assert main(["finetune", "--resume", f"{asked.out}@1"]) == 2
    assert "a fine-tuning goes on from its newest checkpoint" in capsys.readouterr().err
    assert main(["finetune", "--resume", asked.out, "--epochs", "2"]) == 2
    said = capsys.readouterr().err
    assert "other settings (epochs: 1.0 -> 2.0)" in said
    assert "with the new ones by --allow_change" in said
    assert main(["finetune", "--resume", asked.out, "--epochs", "2", "--allow_change"]) == 0
    assert saved_steps(Path(asked.out))[-1] == 6
    assert settings_of(run_reference(asked.out)).allow_change is False, "the next command must allow it itself"
    with pytest.raises(UserError, match="lora: 0 -> 2"):
        finetune(dataclasses.replace(asked, epochs=2.0, lora=2, allow_change=True))
    # Columns may have other names in the file that is measured.
    both = [{"text": row["text"], "other": "a fool", "kind": row["label"]} for row in rows_of("classify", 4)]
    test, scores = write_rows(tmp_path / "test.jsonl", both), tmp_path / "s.json"
    common = ["evaluate", asked.out, "--device", "cpu", "--json", str(scores), "--data"]
    assert main([*common, test]) == 2
    assert "has no 'sentence'" in capsys.readouterr().err
    measured = set()
    for column in ("text", "other"):
        assert main([*common, test, "--columns.text", column]) == 0, "the label's column is the run's"
        found = json.loads(scores.read_text())
        measured.add(found["tasks"]["finetuned/classify"]["items_sha256"])
        words = shlex.split(evaluate_command(asked.out, found).replace("\\\n", ""))
        assert {"--columns.text", column, "--columns.label", "kind"} <= set(words), "it can be repeated"
    assert len(measured) == 2, "other texts of the same file are other items"
    assert main([*common, "tset.jsonl"]) == 2
    assert "There is no file or folder tset.jsonl" in capsys.readouterr().err


def test_more_passes_leave_the_steps_as_large_as_they_were(settings: Settings) -> None:
    asked = settings(batch_size=None, val="", epochs=15.0)
    finetune(asked, until=1)
    config, objective = prepared(dataclasses.replace(asked, epochs=20.0, allow_change=True))
    assert FinetuneSettings(epochs=20.0).batch_of(24) == 4
    assert objective.batch_size == 2
    assert config.max_steps == 240


def test_another_checkpoint_to_begin_with_is_noticed(settings: Settings, pretrained: Path) -> None:
    asked = settings(run=f"{pretrained}@2", from_scratch=True)
    finetune(asked, until=1)
    with pytest.raises(UserError, match=r"run: .*@2' -> .*@newest'"):
        finetune(dataclasses.replace(asked, run=str(pretrained)))


def test_a_head_without_use_has_a_gradient_all_the_same() -> None:
    """DDP waits for all of them."""
    shape = GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=16, tie_weights=False)
    model = HeadedGPT(shape, "classify", 2, with_lm=False)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model(*head_batch([Sequences([[1, 2, 3]], cut=False)], [1])).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_narrow_models_get_a_higher_rate_and_few_examples_smaller_steps(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = FinetuneSettings()
    assert [default.batch_of(rows) for rows in (10, 100, 500, 1066, 1067, 9999)] == [1, 2, 8, 16, 32, 32]
    assert FinetuneSettings(batch_size=16, micro_batch=4).batch_of(10) == 16
    assert prepared(settings(batch_size=12, micro_batch=8))[0].micro_batch == 4
    assert [default.rate(width) for width in (768, 192)] == pytest.approx([6.25e-5, 1e-3])
    assert FinetuneSettings(lora=8).rate(768) == pytest.approx(6.25e-4)
    config, objective = prepared(settings(batch_size=None, micro_batch=8, epochs=17.0))  # 24 examples
    assert (objective.batch_size, config.micro_batch, config.max_steps) == (4, 4, 102)
    # Devices divide a step among them.
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert prepared(settings(batch_size=8))[0].micro_batch == 2
    with pytest.raises(UserError, match=r"batch_size is 1, but it must be a multiple of the devices \(4\)"):
        prepared(settings(batch_size=None))

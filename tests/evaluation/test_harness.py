"""lm-eval gives our models the scores that we do, and the same weights in transformers too.

Needs the extra `eval`; nothing is fetched.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gpt_research.base.errors import UserError
from gpt_research.evaluation import benchmark_files
from gpt_research.evaluation.benchmark_files import Source
from gpt_research.evaluation.chosen_tasks import Items
from gpt_research.evaluation.evaluate import measure_task
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.tasks import lambada, wikitext2
from gpt_research.evaluation.tasks.table import TASKS
from gpt_research.export.exporting import export_run

ITEMS = 60
needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason='lm-eval is not installed (pip install -e ".[eval]")'
)


@pytest.fixture(scope="module")
def harness() -> Any:
    return importlib.import_module("gpt_research.evaluation.harness")


@pytest.fixture(scope="module")
def exported(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The same weights and tokenizer as transformers has them."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("exported") / "hf"
    export_run(runs[1], folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def theirs(exported: tuple[Any, Any]) -> Any:
    """lm-eval's own model over transformers."""
    pytest.importorskip("accelerate", reason='lm-eval runs transformers with accelerate (pip install "lm-eval[hf]")')
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=exported[0], tokenizer=exported[1], batch_size=1, device="cpu", max_length=48)


def items(folder: Path) -> dict[str, Any]:
    found = {name: TASKS[name].read(source_of(name, folder)) for name in ("lambada", "hellaswag")}
    # Equal endings tie, and lm-eval counts the first of them.
    found["hellaswag"] = [question for question in found["hellaswag"] if len(set(question.choices)) == 4]
    return {name: of_task[:ITEMS] for name, of_task in found.items()}


def source_of(name: str, folder: Path) -> Source:
    return benchmark_files.find(name, TASKS[name].files, str(folder))


def our_scores(evaluated: EvaluatedModel, folder: Path) -> dict[str, dict[str, float]]:
    found = [
        measure_task(evaluated, name, Items(TASKS[name], source_of(name, folder), of_task, len(of_task)))
        for name, of_task in items(folder).items()
    ]
    return {result.task: {name: e.value for name, e in result.estimates.items()} for result in found}


def assert_equal(found: dict[str, dict[str, float]], ours: dict[str, dict[str, float]]) -> None:
    """Accuracies to the last bit, perplexities to what fp32 keeps: sums differ with the machine's
    order of adding.
    """
    assert found.keys() == ours.keys()
    for task, scores in ours.items():
        assert "accuracy" in found[task]
        for name in found[task]:
            value = scores[name]
            rel = 0 if name.startswith("accuracy") else 2e-6
            assert found[task][name] == pytest.approx(value, rel=rel, abs=0), f"{task} {name}"


@needs_lm_eval
def test_lm_eval_through_the_adapter_gives_our_scores(
    evaluated: EvaluatedModel, benchmarks: Path, harness: Any
) -> None:
    ours = our_scores(evaluated, benchmarks)
    found = harness.rescore(harness.HarnessModel(evaluated), items(benchmarks))
    assert_equal(found, ours)
    assert 0 < ours["lambada"]["accuracy"] < 1
    assert ours["hellaswag"]["accuracy"] != ours["hellaswag"]["accuracy_norm"]


@needs_lm_eval
@pytest.mark.slow
def test_lm_evals_own_command_knows_our_models(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpt_research import lm_eval as command

    rows = [{"q": "the king", "options": ["takes the crown", "of of of"], "answer": 0}] * 3
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.yaml").write_text(
        "task: quiz\ndataset_path: json\ntest_split: test\noutput_type: multiple_choice\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}, cache_dir: {tmp_path / 'cache'}}}\n"
        'doc_to_text: "{{q}}"\ndoc_to_choice: options\ndoc_to_target: "{{answer}}"\nmetric_list: [{metric: acc}]\n'
    )
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    asked = ["lm_eval", "--model", "gpt-research", "--tasks", str(tmp_path / "task.yaml"), "--model_args"]
    monkeypatch.setattr("sys.argv", [*asked, f"run={runs[1]},device=cpu"])
    assert command.main() == 0
    assert "|quiz" in (printed := capsys.readouterr().out)
    assert "gpt-research ({'run'" in printed
    monkeypatch.setattr("sys.argv", [*asked, f"run={tmp_path}"])
    assert command.main() == 2
    assert "is not a run folder" in capsys.readouterr().err


@needs_lm_eval
def test_model_args_are_checked(harness: Any) -> None:
    for args, says in (("", "Name the run"), ("runs=a", 'takes no argument "runs". Did you mean "run"')):
        with pytest.raises(UserError, match=re.escape(says)):
            harness.HarnessModel.create_from_arg_string(args)


@needs_lm_eval
def test_an_answer_without_a_limit_leaves_room_for_its_prompt(harness: Any) -> None:
    lengths = [harness.generate_config({}, context).max_new_tokens for context in (128, 1024)]
    assert lengths == [64, 256]
    assert harness.generate_config({"max_gen_toks": 100}, 128).max_new_tokens == 100


@needs_lm_eval
def test_lm_eval_over_transformers_gives_our_scores(
    evaluated: EvaluatedModel, benchmarks: Path, harness: Any, theirs: Any
) -> None:
    ours = our_scores(evaluated, benchmarks)
    found = harness.rescore(theirs, items(benchmarks))
    assert_equal(found, ours)


@needs_lm_eval
def test_answers_are_those_of_lm_evals_own_model(evaluated: EvaluatedModel, harness: Any, theirs: Any) -> None:
    from lm_eval.api.instance import Instance

    def ask(kind: str, *arguments: Any) -> Instance:
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    adapter, long = harness.HarnessModel(evaluated), "the king takes the sword. a fool loves the horse. " * 9
    asked = [ask("loglikelihood", before, after) for before, after in
             [("", "the king"), ("the king ", "takes"), (long, " the crown"), ("Zürich – né", "e\n\n x")]]  # fmt: skip
    for ours, other in zip(adapter.loglikelihood(asked), theirs.loglikelihood(asked), strict=True):
        assert ours[0] == pytest.approx(other[0], rel=1e-6, abs=1e-6)
        assert ours[1] == other[1]
    rolling = [ask("loglikelihood_rolling", text) for text in ("a", "the queen gives", long, long[:90])]
    expected = theirs.loglikelihood_rolling(rolling)
    assert adapter.loglikelihood_rolling(rolling) == pytest.approx(expected, rel=1e-6)
    settings = {"until": ["sword", "\n"], "max_gen_toks": 12, "do_sample": False}
    generated = [ask("generate_until", text, dict(settings)) for text in ("the king takes", "my lord", long)]
    written = adapter.generate_until(generated)
    assert written == theirs.generate_until(generated)
    assert all("sword" not in text for text in written)
    assert any(written)


@needs_lm_eval
def test_a_continuation_that_shares_a_token_with_its_context_is_not_certain(
    evaluated: EvaluatedModel, harness: Any
) -> None:
    from lm_eval.api.instance import Instance

    pairs = [("the ki", "ng"), ("the que", "en gives"), ("the king", " takes")]
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    found = harness.HarnessModel(evaluated).loglikelihood(asked)
    ours = evaluated.continuations(pairs)
    assert [ln_p for ln_p, _ in found] == pytest.approx([-nats for nats in ours.nats])
    assert max(ln_p for ln_p, _ in found) < -0.01
    empty = [Instance(request_type="loglikelihood", doc={}, arguments=("", ""), idx=0)]
    with pytest.raises(UserError, match="is empty"):
        harness.HarnessModel(evaluated).loglikelihood(empty)


@needs_lm_eval
def test_a_run_can_be_loaded_by_name_and_scored_on_any_local_task(
    runs: tuple[Path, Path], harness: Any, evaluated: EvaluatedModel
) -> None:
    model = harness.HarnessModel.load(runs[1], device="cpu")
    assert model.max_length == 48
    assert model.eot_token_id == evaluated.tokenizer.end_of_text
    passages = {"lambada": ["the king takes the sword"] * 3}
    assert_equal(harness.rescore(model, passages), harness.rescore(harness.HarnessModel(evaluated), passages))


def test_transformers_gives_our_wikitext_score(
    evaluated: EvaluatedModel, benchmarks: Path, exported: tuple[Any, Any]
) -> None:
    model, tokenizer = exported
    source = source_of("wikitext2", benchmarks)
    articles = wikitext2.read(source)[:4]
    text = "".join(articles)
    tokens = tokenizer(text, return_tensors="pt", verbose=False)["input_ids"]
    assert tokens[0].tolist() == evaluated.tokenizer.encode(text)
    for stride in (48, 24):
        nats, counted, previous_end = 0.0, 0, 0
        for begin in range(0, tokens.size(1), stride):
            end = min(begin + 48, tokens.size(1))
            labels = tokens[:, begin:end].clone()
            labels[:, : -(end - previous_end)] = -100
            with torch.no_grad():
                logits = model(tokens[:, begin:end]).logits
            nats += F.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum").item()
            counted, previous_end = counted + int((labels[0, 1:] != -100).sum()), end
            if end == tokens.size(1):
                break
        asked = Items(TASKS["wikitext2"], source, articles, len(articles))
        found = measure_task(replace(evaluated, stride=stride), "wikitext2", asked)
        assert found.estimates["perplexity"].value == pytest.approx(math.exp(nats / counted), rel=2e-6)


def test_transformers_gives_our_lambada_and_hellaswag_scores(
    evaluated: EvaluatedModel, benchmarks: Path, exported: tuple[Any, Any]
) -> None:
    """As the tests with lm-eval, for where it is missing."""
    model, tokenizer = exported

    def likelihood(before: str, after: str) -> tuple[float, bool]:
        blanks = len(before) - len(before.rstrip())
        context = tokenizer(before.rstrip())["input_ids"] or [tokenizer.eos_token_id]
        whole = tokenizer(before + after)["input_ids"] if before else context + tokenizer(after)["input_ids"]
        assert blanks < len(before) or not before
        with torch.no_grad():
            log_p = model(torch.tensor([whole[-49:][:-1]])).logits[0].log_softmax(-1)
        tail = torch.tensor(whole[len(context) :])
        chosen = log_p[-len(tail) :]
        return chosen.gather(1, tail[:, None]).sum().item(), bool((chosen.argmax(1) == tail).all())

    ours, (passages, questions) = our_scores(evaluated, benchmarks), items(benchmarks).values()
    found = [likelihood(*lambada.split(text)) for text in passages]
    assert ours["lambada"]["accuracy"] == sum(greedy for _, greedy in found) / ITEMS
    assert ours["lambada"]["perplexity"] == pytest.approx(math.exp(-sum(n for n, _ in found) / ITEMS), rel=2e-6)
    right = 0
    for question in questions:
        by_character = [likelihood(question.context, " " + e)[0] / len(e) for e in question.choices]
        right += by_character.index(max(by_character)) == question.label
    assert ours["hellaswag"]["accuracy_norm"] == right / ITEMS

"""Let lm-eval run our models, with its own tasks and its own code.

    from gpt_research.evaluation.harness import HarnessModel
    lm_eval.simple_evaluate(model=HarnessModel.load("runs/demo"), tasks=["arc_easy", "piqa"])

`HarnessModel` implements the three requests of lm-eval: log-likelihood, rolling log-likelihood and
generation. `rescore` lets lm-eval score the items that our own tasks used, so that the scores can
be compared. Nothing is fetched. Importing this module needs the extra `eval`.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gpt_research.base import hints, startup
from gpt_research.base.errors import UserError, closest
from gpt_research.config import GenerateConfig
from gpt_research.evaluation.evaluated_model import EvaluatedModel, encode_pair
from gpt_research.evaluation.task import LmEvalTask, Task
from gpt_research.evaluation.tasks.table import TASKS
from gpt_research.evaluation.windows import rolling_windows
from gpt_research.generation.torch_engine import generate
from gpt_research.run import Run

try:
    from lm_eval.api.model import TemplateLM
except ModuleNotFoundError:
    raise UserError(
        f"Scoring with lm-eval needs the package lm-eval. Run: {hints.install('eval', 'lm-eval')}"
    ) from None

NAME = "gpt-research"
"""Name of our models for lm-eval's flag --model."""
MOST_NEW_TOKENS = 256
"""Length of an answer if the task sets no limit, as in lm-eval, but at most half of the context."""

SCORE_NAMES = {"acc": "accuracy", "acc_norm": "accuracy_norm", "perplexity": "perplexity"}
"""Our name of each score of lm-eval."""


class HarnessModel(TemplateLM):
    """One of our models, as a model of lm-eval."""

    def __init__(self, evaluated: EvaluatedModel) -> None:
        super().__init__()
        self.evaluated = replace(evaluated, generator=generate)
        self._device = evaluated.runtime.device  # lm-eval's base class reads this name

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> HarnessModel:
        """Return the model that lm-eval's --model_args name, such as run=runs/demo,step=best."""
        given = dict(part.partition("=")[::2] for part in arg_string.split(",") if part.strip())
        return cls.create_from_arg_obj(
            {name.strip(): value.strip() for name, value in given.items()}, additional_config
        )

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> HarnessModel:
        """Return the same for arguments as a dictionary."""
        known = ("run", "step", "device", "precision", "batch_size")
        for name in arg_dict:
            if name not in known:
                raise UserError(
                    f'{NAME} takes no argument "{name}".{closest(name, known)} It takes {", ".join(known)}.'
                )
        if not arg_dict.get("run"):
            raise UserError(f"Name the run: --model {NAME} --model_args run=RUN")
        # lm-eval's own flags come second: what --model_args names is the more exact. "cuda:0" is
        # its default on every machine, so nobody need have asked for it.
        more = {name: value for name, value in (additional_config or {}).items() if name in known and value is not None}
        if more.get("device") == "cuda:0":
            del more["device"]
        asked = {**more, **arg_dict}
        size = str(asked.pop("batch_size", "")) or "8"
        return cls.load(**asked, batch_size=int(size) if size.isdigit() else 8)

    @classmethod
    def load(
        cls,
        run: Path | str,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32",
        batch_size: int = 8,
        step: str = "",
    ) -> HarnessModel:
        """Return the model of a run's newest checkpoint, or of another one.

        Args:
            run: the run, or `RUN@STEP`.
            step: newest, best, or a number; by default what `RUN@STEP` names, else newest.
        """
        runtime = startup.start(device, precision)
        opened = Run.open(run, runtime.device, step)
        context = opened.model.config.block_size
        return cls(EvaluatedModel(opened.model, opened.tokenizer, runtime, context, batch_size))

    @property
    def eot_token_id(self) -> int:
        return self.evaluated.tokenizer.end_of_text

    @property
    def max_length(self) -> int:
        """The number of tokens that the context holds."""
        return self.evaluated.context

    @property
    def tokenizer_name(self) -> str:
        """A name for the tokenizer in lm-eval's caches."""
        return self.evaluated.tokenizer.fingerprint

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **ignored: Any) -> list[int]:
        """Return the tokens of a text. Our tokenizers add no special tokens."""
        return self.evaluated.tokenizer.encode(string)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return ln p of each continuation after its context, and if greedy decoding writes it.

        Raises:
            UserError: a continuation is empty.
        """
        pairs = [request.args for request in requests]
        return self._loglikelihood_tokens([(pair, *encode_pair(self.evaluated.tokenizer, *pair)[:2]) for pair in pairs])

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **ignored: Any
    ) -> list[tuple[float, bool]]:
        scores = self.evaluated.token_continuations([(before, after) for _, before, after in requests])
        answers = [(-float(nats), bool(greedy)) for nats, greedy in zip(scores.nats, scores.greedy, strict=True)]
        for (key, _, _), answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", key, answer)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return ln p of whole texts, whose first token follows an end-of-text token."""
        answers = []
        for request in requests:
            (text,) = request.args
            tokens = [self.eot_token_id, *self.tok_encode(text)]
            scores = self.evaluated.score(list(rolling_windows(tokens, 1, self.max_length)))
            answers.append(-float(sum(s.nats.sum() for s in scores)))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), answers[-1])
        return answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes after each context, up to a stop text."""
        answers = [""] * len(requests)
        # Requests with the same settings are generated together, in batches.
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        for settings, indices in groups.items():
            config = generate_config(json.loads(settings), self.evaluated.context)
            prompts = [requests[i].args[0] for i in indices]
            texts = self.evaluated.write(prompts, config)
            if cut := self.evaluated.cut_prompts(prompts, config.max_new_tokens):
                logging.getLogger(__name__).warning(
                    f"{cut:,} of {len(prompts):,} prompts do not fit the context of {self.evaluated.context} tokens "
                    f"together with an answer of {config.max_new_tokens}, and were cut on the left."
                )
            for index, text in zip(indices, texts, strict=True):
                answers[index] = text
                self.cache_hook.add_partial("generate_until", requests[index].args, text)
        return answers


def run_command() -> None:
    """Run lm-eval's own command, to which our models are known by `NAME`."""
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model

    register_model(NAME)(HarnessModel)
    cli_evaluate()


def generate_config(asked: dict[str, Any], context: int) -> GenerateConfig:
    """Return our settings for the generation settings of a task of lm-eval, for a model that looks
    at `context` tokens.
    """
    until = asked.get("until") or []
    usual = max(1, min(MOST_NEW_TOKENS, context // 2))
    length = next((asked[n] for n in ("max_gen_toks", "max_new_tokens", "max_tokens") if n in asked), usual)
    # As in transformers, temperature, top_k and top_p count only if the task samples.
    sampled = bool(asked.get("do_sample", False))
    return GenerateConfig(
        max_new_tokens=int(length),
        temperature=float(asked.get("temperature", 1.0)) if sampled else 0.0,
        top_k=int(asked.get("top_k", 0)) if sampled else 0,
        top_p=float(asked.get("top_p", 1.0)) if sampled else 1.0,
        stop=[stop for stop in ([until] if isinstance(until, str) else until) if stop],
    )


def rescore(
    model: TemplateLM, items: Mapping[str, Sequence[Any]], tasks: Mapping[str, Task] = TASKS
) -> dict[str, dict[str, float]]:
    """Return the scores that lm-eval computes for items of our tasks, by task and score.

    Tasks that lm-eval does not have are left out.

    Args:
        model: any model of lm-eval, such as its `hf` model with the same weights.
        items: the items of each task, as its `read` returns them.
        tasks: the tasks by name.
    """
    known = {name: task for name in items if (task := tasks[name].lm_eval) is not None and items[name]}
    if not known:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        asked = [_task(task, task.rows(items[name]), Path(folder)) for name, task in known.items()]
        results = _evaluate(model, asked)
    return {
        name: {
            ours: float(results[f"local_{task.name}"][f"{theirs},none"])
            for theirs, ours in SCORE_NAMES.items()
            if f"{theirs},none" in results[f"local_{task.name}"]
        }
        for name, task in known.items()
    }


def rescore_model(
    model: EvaluatedModel, items: Mapping[str, Sequence[Any]], tasks: Mapping[str, Task]
) -> dict[str, dict[str, float]]:
    """Return what `rescore` does for one of our models."""
    return rescore(HarnessModel(model), items, tasks)


def _task(task: LmEvalTask, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return a task of lm-eval that reads a local file."""
    path = folder / f"{task.name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": f"local_{task.name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        **task.settings,
    }


def _evaluate(model: TemplateLM, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    # Without this the library asks the hub about the files, though they are on this machine.
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    import lm_eval
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # Listing lm-eval's own tasks, which are thousands, would take ten seconds.
    manager = TaskManager(include_defaults=False)
    scored = lm_eval.simple_evaluate(
        model=model, tasks=tasks, task_manager=manager, bootstrap_iters=0, log_samples=False
    )
    return dict(scored["results"])

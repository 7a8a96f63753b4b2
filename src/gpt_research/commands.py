"""What each command is asked to do beside the settings of `config`: frozen dataclasses, one a command.

As there, a field is a flag of the command by the same name. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpt_research.base.errors import UserError, closest, require

EVALUATION_TASKS = ("corpora", "wikitext2", "lambada", "hellaswag")
"""What `evaluate` measures: the loss on each corpus of a data set, and the benchmarks."""


@dataclass(frozen=True)
class EvaluateCommand:
    """What `gpt-research evaluate` is asked to do."""

    run: str = ""
    """Run folder to evaluate. Empty: the newest under runs/."""
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
    json: str = ""
    """Result file; what it holds of each item goes beside it. Empty: evaluation.json in the run folder."""
    harness: bool = False
    """Let lm-eval score the benchmarks too, through its own code on the same items, and show both."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the matrix products."""

    def __post_init__(self) -> None:
        require(self.max_tokens >= 0, "max_tokens", self.max_tokens, "0 or more")
        require(self.limit >= 0, "limit", self.limit, "0 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.context is None or self.context >= 2, "context", self.context, "2 or more, or left out")
        require(self.stride is None or self.stride >= 1, "stride", self.stride, "1 to the context, or left out")
        for name in self.chosen_tasks:
            if name not in EVALUATION_TASKS:
                known = ", ".join(EVALUATION_TASKS)
                raise UserError(f'There is no task "{name}".{closest(name, EVALUATION_TASKS)} Tasks: {known}.')

    @property
    def chosen_tasks(self) -> list[str]:
        """The tasks named, without repetitions."""
        return list(dict.fromkeys(name.strip() for name in self.tasks.split(",") if name.strip()))


@dataclass(frozen=True)
class CompareCommand:
    """What `gpt-research compare` is asked to do: set two evaluations side by side, item by item."""

    runs: list[str] = field(default_factory=list)
    """Two run folders that were evaluated, or two result files."""
    confidence: float = 0.95
    """Share of repetitions in which the interval would hold the true difference."""
    json: str = ""
    """Write the comparison to this file too."""

    def __post_init__(self) -> None:
        require(len(self.runs) == 2, "runs", self.runs, "two run folders or result files: compare RUN_A RUN_B")
        require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1, such as 0.95")

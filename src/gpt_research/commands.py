"""What each command is asked to do beside the settings of `config`: frozen dataclasses, one a command.

As there, a field is a flag of the command by the same name. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpt_research.base.errors import UserError, closest
from gpt_research.config import GenerateConfig, TrainConfig, require


@dataclass(frozen=True)
class VerifyResumeCommand(TrainConfig):
    """What `gpt-research verify-resume` is asked to do: the settings of a run, and how much of it to try."""

    out: str = "runs/verify-resume"
    """Folder for the two runs; it is emptied first."""
    steps: int = 10
    """Steps to take, in one go and in two halves."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= self.steps <= self.max_steps, "steps", self.steps, f"2 to max_steps ({self.max_steps})")


@dataclass(frozen=True)
class PlanCommand(TrainConfig):
    """What `gpt-research plan` is asked to do: the settings of a run, and how to reckon."""

    seconds: float = 60.0
    """Time to measure real steps for; 0 gives the formulas only."""
    price_per_hour: float = 0.0
    """What an hour of all devices together costs, in any currency; 0 leaves the cost out."""
    json: bool = False
    """Print one JSON object instead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.seconds < 86400, "seconds", self.seconds, "0 or more, and less than a day")
        require(self.price_per_hour >= 0, "price_per_hour", self.price_per_hour, "0 or more")


@dataclass(frozen=True)
class DoctorCommand:
    """What `gpt-research doctor` is asked to do: look at this machine."""

    out: str = "runs"
    """Folder whose disk is looked at."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class ReplayCommand:
    """What `gpt-research replay` is asked to do."""

    run: str = ""
    """Run folder. Empty: the newest under runs/."""
    step: int = 1
    """Step to run again, counted from 1 as in metrics.jsonl."""
    data: str = ""
    """Data set folder. Empty: the one the run was trained on."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        require(self.step >= 1, "step", self.step, "at least 1")


@dataclass(frozen=True)
class InspectCommand:
    """What `gpt-research inspect` is asked to do."""

    run: str = ""
    """Run folder. Empty: the newest under runs/."""
    verify: bool = False
    """Check the SHA-256 of every checkpoint's files too."""


@dataclass(frozen=True)
class GenerateCommand(GenerateConfig):
    """What `gpt-research generate` is asked to do."""

    run: str = ""
    """Run folder to write with. Empty: the newest under runs/."""
    prompt: str = "\n"
    """Text to go on from; - reads it from standard input; empty begins a document."""
    interactive: bool = False
    """Ask for prompts, one after another, until /quit."""
    json: bool = False
    """Print one JSON object a sample instead: prompt, text, ended, tokens, logprobs."""
    engine: Literal["torch", "llamacpp"] = "torch"
    """torch, or llamacpp: llama.cpp on the CPU, with a GGUF file made of the run and kept in its folder."""
    weights: Literal["same", "int8"] = "same"
    """int8 keeps the matrices in 8 bits: faster, a little less exact."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic and weights. auto: bf16 where the device is fast at it, else fp32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not (self.interactive and self.json), "json", True, "left out in an interactive session")
        alone = not self.interactive or self.num_samples == 1
        require(alone, "num_samples", self.num_samples, "1 in an interactive session")
        on_cpu = self.engine == "torch" or self.device in ("auto", "cpu")
        require(on_cpu, "device", self.device, "auto or cpu for --engine llamacpp")


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


@dataclass(frozen=True)
class WhereCommand:
    """What `gpt-research where` is asked: where a token, or what a step of training read, came from."""

    data: str = ""
    """Data set folder. Empty: the run's, else data/tokens."""
    corpus: str = ""
    """Corpus of the token; may be left out where there is one."""
    token: int = 0
    """Number of the token among those of its corpus and split, over all shards in order."""
    split: Literal["train", "val"] = "train"
    """Side of the data set that the token is on."""
    run: str = ""
    """Run folder, to ask for a step instead of a token."""
    step: int = 0
    """Step of that run, counted from 1: shows every window it read."""
    json: bool = False
    """Print one JSON object a line instead."""

    def __post_init__(self) -> None:
        require(bool(self.run) == (self.step != 0), "step", self.step, "given together with --run")
